"""Pairs of layers between which a scale can be moved without changing what the model computes.

What one layer, the scaler, gives out is divided by a number per channel, and the columns of the
layers that read it, the readers, are multiplied by the same numbers (AWQ, arXiv 2306.00978,
section 3.2). They are found by mlxforge.calibrate.pairing, and held here as plain data::

    {"scaler": "model.layers.0.self_attn.v_proj", "kind": "rows", "experts": 0,
     "readers": {"model.layers.0.self_attn.o_proj": [[0, 64], [0, 64], [64, 64], [64, 64]]}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

__all__ = ["FROM_ONE", "OTHER", "ROWS", "WEIGHT", "Pair", "Pairs", "ranges_of"]

WEIGHT, FROM_ONE, ROWS = "weight", "from_one", "rows"
"""How a scaler is divided: a norm by its weight w; one that multiplies by 1 + w; a projection by
the rows of its weight. Biases are divided as well."""
OTHER = -1
"""In the place of a channel: the column reads something else."""

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pair:
    """``readers``: by path, which channel of the scaler each of its columns reads, as ranges
    (first channel, how many) in the order of the columns. ``experts``: how many there are in
    scaler and readers, each of which has scales of its own; 0 where one scale serves all."""

    scaler: str
    kind: str
    experts: int
    readers: Mapping[str, Ranges]

    def channels(self, reader: str) -> np.ndarray:
        """int64 [columns]: the channel that each column of ``reader`` reads, or ``OTHER``."""
        parts = [
            np.full(count, OTHER) if first == OTHER else np.arange(first, first + count)
            for first, count in self.readers[reader]
        ]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Pairs:
    """``without``: norms that no scale can be moved out of, with the reason, by path."""

    pairs: tuple[Pair, ...]
    without: Mapping[str, str]

    def dumps(self) -> str:
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> Pairs:
        raw = json.loads(path.read_bytes())
        pairs = tuple(
            Pair(
                entry["scaler"], entry["kind"], entry["experts"],
                {name: tuple((a, n) for a, n in found) for name, found in entry["readers"].items()},
            )
            for entry in raw["pairs"]
        )  # fmt: skip
        return cls(pairs, raw["without"])


def ranges_of(channels: Iterable[int]) -> Ranges:
    """The inverse of ``Pair.channels``."""
    found: list[tuple[int, int]] = []
    for channel in map(int, channels):
        first, count = found[-1] if found else (0, 0)
        following = OTHER if first == OTHER else first + count
        if found and channel == following:
            found[-1] = (first, count + 1)
        else:
            found.append((channel, 1))
    return tuple(found)
