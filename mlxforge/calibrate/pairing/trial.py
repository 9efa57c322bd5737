"""Trying whether a scale can be moved out of a layer: what others read is divided again, and then
nothing behind them may have changed.

A scaler's channels are multiplied by numbers that say which channel it is. Where a layer's inputs
come scaled alike over all tokens, column by column, it reads the scaler, the factors tell which
channel each column reads, and its inputs are divided by them, which is what multiplying the columns
of its weight would do. Whatever else the scale gets into shows: as inputs of another layer that are
neither as they were nor scaled, or in the outputs of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlxforge.calibrate.pairing.standins import Watch
from mlxforge.models.layers.pairs import OTHER

__all__ = [
    "DIGITS",
    "Changed",
    "Noted",
    "Reads",
    "Trial",
    "code",
    "decode",
    "ratio",
    "same",
]

DIGITS = 250  # values that a factor can have; none of them is 1
TOLERANCE = 1e-4  # of the greatest number

Key = tuple[str, int]
"""A layer, and how many times it was used before."""


Reads = Callable[[str, mx.array, mx.array, mx.array | None], mx.array | None]
"""Path of a layer, its inputs, what they are in a plain run, and which experts they go to: by what
they were multiplied, None for not at all. Raises Changed where that cannot be told."""


class Changed(Exception):
    """The scale got into something that is not its reader: the message says where."""


class Noted(Watch):
    """A run as it is: what came into every layer."""

    def __init__(self) -> None:
        self.inputs: dict[Key, mx.array] = {}
        self.indices: dict[Key, mx.array | None] = {}
        self.heads: dict[str, mx.array] = {}
        self._uses: dict[str, int] = {}

    def enter(self, path: str, x: mx.array, indices: mx.array | None) -> mx.array | None:
        self._uses[path] = self._uses.get(path, -1) + 1
        self.inputs[path, self._uses[path]] = x
        self.indices[path, self._uses[path]] = indices
        return None

    def head(self, path: str, x: mx.array) -> None:
        self.heads[path] = x


class Trial(Watch):
    """A run in which the outputs of projections are multiplied by what ``scaled`` gives, [rows] or,
    for each expert, [experts, rows], and the inputs of layers divided by what ``reads`` tells."""

    def __init__(
        self,
        plain: Noted,
        scaled: Callable[[str], mx.array | None],
        reads: Reads,
    ) -> None:
        self._plain, self._scaled, self._reads = plain, scaled, reads
        self._uses: dict[str, int] = {}

    def enter(self, path: str, x: mx.array, indices: mx.array | None) -> mx.array | None:
        self._uses[path] = use = self._uses.get(path, -1) + 1
        before = self._plain.inputs.get((path, use))
        if before is None or before.shape != x.shape or not _alike(
            indices, self._plain.indices[path, use]
        ):  # fmt: skip
            raise Changed(f"another part of the model reaches {path}")
        return self._reads(path, x, before, indices)

    def leave(self, path: str, y: mx.array, indices: mx.array | None) -> mx.array:
        factors = self._scaled(path)
        if factors is None:
            return y
        return y * (factors if factors.ndim == 1 else factors[indices][..., None, :])

    def head(self, path: str, x: mx.array) -> None:
        if not same(x, self._plain.heads[path]):
            raise Changed(f"{path}, whose weight turns tokens into states as well, reads it")


def ratio(path: str, x: mx.array, before: mx.array) -> np.ndarray | None:
    """By what each column of ``x`` is that of ``before``, float64 [columns]; None where they are
    the same, Changed where that is not it."""
    if same(x, before):
        return None
    columns = x.shape[-1]
    now, then = (np.array(a.astype(mx.float32), np.float64).reshape(-1, columns)
                 for a in (x, before))  # fmt: skip
    power = np.square(then).sum(axis=0)
    found = np.where(power > 0, (now * then).sum(axis=0) / np.where(power > 0, power, 1), 1)
    if not np.abs(now - found * then).max() <= TOLERANCE * np.abs(now).max():
        raise Changed(f"what comes into {path} is not multiplied by it alone")
    return found


def code(digits: np.ndarray) -> mx.array:
    """Factors between a half and two, one for each value below ``DIGITS``."""
    return mx.array(np.exp2(2 * (digits + 0.5) / DIGITS - 1).astype(np.float32))


def decode(path: str, factors: np.ndarray) -> np.ndarray:
    """The digits of ``factors``, ``OTHER`` for 1; Changed where they are none."""
    place = (np.log2(np.maximum(factors, 1e-9)) + 1) / 2 * DIGITS - 0.5
    digits = np.rint(place)
    one = np.abs(factors - 1) < TOLERANCE
    if not np.all(one | (np.abs(place - digits) < 0.1) & (digits >= 0) & (digits < DIGITS)):
        raise Changed(f"what comes into {path} is multiplied by other numbers as well")
    return np.where(one, OTHER, digits).astype(np.int64)


def same(one: Any, other: Any) -> bool:
    """Whether arrays, or trees of them, are the same up to rounding."""
    mine, theirs = dict(tree_flatten(one)), dict(tree_flatten(other))
    return mine.keys() == theirs.keys() and all(
        not isinstance(value, mx.array) or _near(value, theirs[name])
        for name, value in mine.items()
    )


def _near(one: mx.array, other: mx.array) -> bool:
    if one.shape != other.shape:
        return False
    if not mx.issubdtype(one.dtype, mx.floating):
        return bool(mx.array_equal(one, other))
    one, other = one.astype(mx.float32), other.astype(mx.float32)
    return bool(mx.abs(one - other).max() <= TOLERANCE * mx.abs(other).max())


def _alike(one: mx.array | None, other: mx.array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(mx.array_equal(one, other))
