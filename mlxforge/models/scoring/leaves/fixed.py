"""Layers that go on with other weights than those in their files: codes that were just chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.scoring.leaves.held import Holder
from mlxforge.models.scoring.leaves.kept import Held, Keep, Kept, in_memory
from mlxforge.models.scoring.leaves.model import decoded_parts
from mlxforge.quantize.affine import Affine, decode

__all__ = [
    "Name",
    "exchange_matrix",
    "expert_count",
    "fix_tensor",
    "fix_weight",
    "forget_weight",
    "has_matrix",
    "weight_of",
]


Arrays = tuple[mx.array, mx.array, mx.array]
"""Of an Affine."""


@dataclass(frozen=True)
class Name:
    """Of a weight that is in no file."""

    name: str


@dataclass(frozen=True)
class _Own:
    """What a layer had before its weight was fixed."""

    matrix: Any
    load: Any


class FixedMatrix:
    """In the place of a mlxforge.models.scoring.leaves.matrix.Matrix: the same shape, decoded from
    ``codes``, one entry per expert."""

    def __init__(self, name: str, shape: tuple[int, ...], codes: Sequence[Kept[Arrays]]) -> None:
        self.weight = Name(name)
        self.shape = shape
        self._codes = codes

    @property
    def rows(self) -> int:
        rows = 1
        for extent in self.shape[:-1]:
            rows *= extent
        return rows

    @property
    def columns(self) -> int:
        return self.shape[-1]

    def decode(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop``, float32 [stop - start, columns], evaluated."""
        own = self.rows // len(self._codes)
        parts = []
        while start < stop:
            entry, first = divmod(start, own)
            last = min(own, first + stop - start)
            parts.append(self._rows(entry, slice(first, last)))
            start += last - first
        found = parts[0] if len(parts) == 1 else mx.concatenate(parts)
        mx.eval(found)
        return found

    def gather(self, rows: Sequence[int]) -> mx.array:
        """Single rows, float32 [len(rows), columns], evaluated."""
        assert len(self._codes) == 1  # only embeddings are asked
        found = self._rows(0, mx.array(list(rows)))
        mx.eval(found)
        return found

    def leave(self) -> None:
        for each in self._codes:
            each.leave()

    def _rows(self, entry: int, rows: slice | mx.array) -> mx.array:
        part = Affine(*(array[rows] for array in self._codes[entry].read()))
        return decode(part, self.columns // part.scales.shape[-1])


def has_matrix(module: nn.Module) -> bool:
    """Whether a layer multiplies its inputs by its rows, and by nothing else; the projections of
    latent attention are used both ways round."""
    return isinstance(module, Holder) and hasattr(module, "_matrix")


def expert_count(module: nn.Module) -> int:
    """How many weights are stacked in a layer; 0 for a plain one."""
    shape = module._matrix.shape
    return int(shape[0]) if len(shape) == 3 else 0


def weight_of(module: nn.Module, expert: int | None = None) -> mx.array:
    """The weight of a layer, or of one of its experts: float32 [rows, columns], evaluated."""
    matrix = module._matrix
    if expert is None:
        found: mx.array = matrix.decode(0, matrix.rows)
        return found
    own = matrix.shape[-2]
    part: mx.array = matrix.decode(expert * own, (expert + 1) * own)
    return part


def fix_weight(
    module: nn.Module, entries: Sequence[Affine], keep: Keep[Arrays] = in_memory
) -> None:
    """From now on ``module`` multiplies by what ``entries`` stand for, one per expert. They are
    where ``keep`` brings them."""
    assert isinstance(module, Holder)
    if not hasattr(module, "_own"):
        module._own = _Own(module._matrix, module._held.load)
    arrays = [(entry.codes, entry.scales, entry.biases) for entry in entries]
    mx.eval(arrays)
    _leave(module)
    old = module._matrix
    codes = [keep(each) or Held(each) for each in arrays]
    exchange_matrix(module, FixedMatrix(f"{old.weight.name} fixed", old.shape, codes))


def exchange_matrix(module: Holder, matrix: Any) -> None:
    """From now on ``module`` multiplies by ``matrix``, which can do what its own can."""
    module._matrix = matrix
    load = dict(module._held.load)
    load["weight"] = partial(decoded_parts, matrix, module._held.supply)
    module._held.load = load


def fix_tensor(modules: Mapping[str, nn.Module], name: str, value: mx.array) -> None:
    """From now on the layer that has the tensor ``name`` computes with ``value``, in float32: of
    those that ``has_matrix`` is true of, not their weight."""
    path, _, own = name.rpartition(".")
    value = value.astype(mx.float32)
    mx.eval(value)  # threads will share it
    modules[path][own] = value


def forget_weight(module: nn.Module) -> None:
    """Let go of the codes: ``module`` has the weight of its file again."""
    if hasattr(module, "_own"):
        _leave(module)
        module._matrix, module._held.load = module._own.matrix, module._own.load
        del module._own


def _leave(module: nn.Module) -> None:
    if isinstance(module._matrix, FixedMatrix):
        module._matrix.leave()
