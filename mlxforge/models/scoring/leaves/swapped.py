"""Layers that multiply by other weights for the time being: their own, as they come out of
packing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.scoring.leaves.fixed import Name
from mlxforge.models.scoring.leaves.held import Holder
from mlxforge.models.scoring.leaves.matrix import widen
from mlxforge.models.scoring.leaves.model import decoded_parts
from mlxforge.models.scoring.leaves.supply import Range, Supply

__all__ = ["PackedMatrix", "rows_of_weight", "swapped"]


@dataclass(frozen=True)
class PackedMatrix:
    """A weight of ``shape`` [..., rows, columns] as words, scales and biases in memory, each
    [all rows, ...]; to be used in the place of a mlxforge.models.scoring.leaves.matrix.Matrix.
    ``label`` is like no other matrix's of the model."""

    label: str
    shape: tuple[int, ...]
    parts: tuple[mx.array, ...]
    bits: int
    group_size: int

    @property
    def weight(self) -> Name:
        return Name(self.label)

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def columns(self) -> int:
        return self.shape[-1]

    def decode(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop``, float32 [stop - start, columns], evaluated."""
        return self._decoded([part[start:stop] for part in self.parts])

    def gather(self, rows: list[int]) -> mx.array:
        """Single rows, float32 [len(rows), columns], evaluated."""
        places = mx.array(rows)
        return self._decoded([part[places] for part in self.parts])

    def _decoded(self, parts: list[mx.array]) -> mx.array:
        words, scales, biases = parts
        found: mx.array = mx.dequantize(
            words, widen(scales), widen(biases), group_size=self.group_size, bits=self.bits
        )
        mx.eval(found)
        return found


def rows_of_weight(module: nn.Module, start: int, stop: int) -> mx.array:
    """Rows of a layer's weight, those of experts one after the other: float32
    [stop - start, columns], evaluated."""
    if isinstance(module, Holder) and hasattr(module, "_matrix"):
        found: mx.array = module._matrix.decode(start, stop)
        return found
    weight = module["weight"]
    found = widen(weight.reshape(-1, weight.shape[-1])[start:stop])
    mx.eval(found)
    return found


@contextmanager
def swapped(module: nn.Module, matrix: PackedMatrix, supply: Supply) -> Iterator[None]:
    """``module`` with the weight that ``matrix`` stands for; ``supply`` should keep nothing."""
    if not isinstance(module, Holder) or "weight" not in module._held.load:
        before = module["weight"]
        module["weight"] = matrix.decode(0, matrix.rows).reshape(matrix.shape)
        try:
            yield
        finally:
            module["weight"] = before
        return
    held, own = module._held, module.__dict__.get("_matrix")
    load = dict(held.load)
    load["weight"] = partial(_decoded, matrix, supply)
    module._held = replace(held, load=load, supply=supply)
    if own is not None:
        module._matrix = matrix
    try:
        yield
    finally:
        module._held = held
        if own is not None:
            module._matrix = own


def _decoded(matrix: PackedMatrix, supply: Supply, window: Range | None) -> mx.array:
    return decoded_parts(matrix, supply, window)
