"""Arrays that outlive a killed process, in a folder that the next one finds again.

A file is written beside its place, brought to the disk and renamed: it is whole, or not there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxforge.models.saved import load_saved
from mlxforge.store.sync import PART, replaced

__all__ = ["Kept", "Pace"]

EVERY = 60.0  # seconds of work, at most, that a killed process loses


class Kept:
    """Named sets of arrays in ``folder``, each with a few JSON-plain facts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str, arrays: Mapping[str, mx.array], **facts: Any) -> None:
        told = {key: json.dumps(value) for key, value in facts.items()}
        with replaced(self._file(name)) as staged:
            mx.save_safetensors(str(staged), dict(arrays), metadata=told)

    def load(self, name: str) -> tuple[dict[str, mx.array], dict[str, Any]] | None:
        """The arrays, evaluated, and the facts; None where there are none of that name."""
        if not self._file(name).is_file():
            return None
        arrays, told = load_saved(self._file(name))
        mx.eval(arrays)
        facts = {key: json.loads(value) for key, value in told.items() if key != "format"}
        return arrays, facts

    def drop(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def names(self, start: str) -> list[str]:
        """Of all that are kept and begin so."""
        end = ".safetensors"
        found = (file.name.removesuffix(end) for file in self._folder.glob(f"{start}*{end}"))
        return sorted(name for name in found if not name.endswith(PART))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"


class Pace:
    """Says when enough was done that it is worth a file."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self._last < EVERY:
            return False
        self._last = time.monotonic()
        return True
