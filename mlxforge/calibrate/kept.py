"""Arrays that outlive a killed process, in a folder that the next one finds again.

A file is written beside its place, brought to the disk and renamed: it is whole, or not there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxforge.models.saved import load_saved
from mlxforge.store.sync import PART, replaced

__all__ = ["Kept", "Pace"]

EVERY = 60.0  # seconds of work that a killed process loses, where keeping it takes less than 6
TIMES = 10  # what keeping took: so long it is worth


@dataclass(frozen=True)
class Told:
    names: frozenset[str]
    facts: dict[str, Any]


class Kept:
    """Named sets of arrays in ``folder``, each with a few JSON-plain facts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str, arrays: Mapping[str, mx.array], **facts: Any) -> None:
        told = {key: json.dumps(value) for key, value in facts.items()}
        with replaced(self._file(name)) as staged:
            mx.save_safetensors(str(staged), dict(arrays), metadata=told)

    def told(self, name: str) -> Told | None:
        """What is told of the arrays of that name, which are not read; None without any."""
        if not self._file(name).is_file():
            return None
        arrays, told = load_saved(self._file(name))
        return Told(frozenset(arrays), _facts(told))

    def load(self, name: str) -> tuple[dict[str, mx.array], dict[str, Any]] | None:
        """The arrays, evaluated, and the facts; None where there are none of that name."""
        if not self._file(name).is_file():
            return None
        arrays, told = load_saved(self._file(name))
        mx.eval(arrays)
        return arrays, _facts(told)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes fit on the disk beside as many more."""
        return shutil.disk_usage(self._folder).free >= 2 * size

    def drop(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def names(self, start: str) -> list[str]:
        """Of all that are kept and begin so."""
        end = ".safetensors"
        found = (file.name.removesuffix(end) for file in self._folder.glob(f"{start}*{end}"))
        return sorted(name for name in found if not name.endswith(PART))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"


def _facts(told: Mapping[str, str]) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in told.items() if key != "format"}


class Pace:
    """Says when enough was done that it is worth a file: keeping takes a small part of the time."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._every = EVERY

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._every

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """What is due is done meanwhile."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._every = max(EVERY, TIMES * (self._last - begun))
