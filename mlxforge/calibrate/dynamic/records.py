"""Sensitivities on the disk: the finished file, and what a killed run has found so far.

sensitivities.json   by layer: nats by width where they were measured, and errors by width
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.store.sync import replaced

__all__ = ["Records", "Sensitivity", "read_sensitivities", "write_sensitivities"]

NAME = "sensitivities.json"


@dataclass(frozen=True)
class Sensitivity:
    """``measured``: nats by width; ``errors``: weighted squared errors by width, in one unit."""

    measured: Mapping[int, float]
    errors: Mapping[int, float]

    def at(self, bits: int) -> float:
        """Nats at any width: as measured at the nearest one, scaled by the errors."""
        near = min(self.measured, key=lambda known: (abs(known - bits), known))
        error = self.errors[near]
        return self.measured[near] * self.errors[bits] / error if error else 0.0


class Records:
    """Pieces of the work, each in a file of its own in ``folder``, whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def kept(self, name: str, find: Callable[[], dict[str, Sensitivity]]) -> dict[str, Sensitivity]:
        """What is recorded under ``name``; else what ``find`` gives, recorded."""
        file = self._folder / f"{name}.json"
        if not file.is_file():
            found = find()
            with replaced(file) as staged:
                staged.write_text(_dumps(found))
        return _loads(file.read_bytes())


def write_sensitivities(found: Mapping[str, Sensitivity], folder: Path) -> None:
    (folder / NAME).write_text(_dumps(found))


def read_sensitivities(folder: Path) -> dict[str, Sensitivity]:
    """By the layers' paths."""
    return _loads((folder / NAME).read_bytes())


def _dumps(found: Mapping[str, Sensitivity]) -> str:
    """Numbers as they are, to the last digit."""
    document = {
        path: {"measured": _by_name(entry.measured), "errors": _by_name(entry.errors)}
        for path, entry in found.items()
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _loads(data: bytes) -> dict[str, Sensitivity]:
    return {
        path: Sensitivity(_by_width(entry["measured"]), _by_width(entry["errors"]))
        for path, entry in json.loads(data).items()
    }


def _by_name(values: Mapping[int, float]) -> dict[str, float]:
    return {str(bits): value for bits, value in values.items()}


def _by_width(values: Mapping[str, Any]) -> dict[int, float]:
    return {int(bits): float(value) for bits, value in values.items()}
