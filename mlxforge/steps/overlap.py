"""overlap: how much of the evaluation text stands in the calibration text too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Overlap"]


@dataclass(frozen=True)
class Overlap(Step):
    """``calibration`` and ``evaluation``, two text files -> ``overlap.json`` (see
    mlxforge.evaluate.overlap). Of the evaluation text the first ``words`` are looked at."""

    words: int

    kind = "overlap"
    version = 2

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.evaluate.overlap import measure_overlap

        found = measure_overlap(inputs["calibration"], inputs["evaluation"], self.words, progress)
        (out / "overlap.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
