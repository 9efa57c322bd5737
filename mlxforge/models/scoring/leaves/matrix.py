"""A weight that stays in its files, decoded to float32 some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlxforge.models.streaming.rows import Rows

__all__ = ["Matrix", "Packing", "widen"]


@dataclass(frozen=True)
class Packing:
    group_size: int
    bits: int
    mode: str


@dataclass(frozen=True)
class Matrix:
    """A weight [..., rows, columns], taken as [all rows, columns], plain or packed.

    ``global_scale`` (nvfp4 of experts only) holds one number per expert of ``rows`` rows.
    """

    weight: Rows
    packing: Packing | None = None
    scales: Rows | None = None
    biases: Rows | None = None
    global_scale: Rows | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight when it is not packed."""
        if self.packing is None or self.scales is None:
            return self.weight.shape
        return (*self.weight.shape[:-1], self.scales.columns * self.packing.group_size)

    @property
    def rows(self) -> int:
        return self.weight.rows

    @property
    def columns(self) -> int:
        return self.shape[-1]

    def decode(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop``, float32 [stop - start, columns], evaluated."""
        return self._unpack(lambda rows: rows.read(start, stop), start // self.shape[-2])

    def gather(self, rows: Sequence[int]) -> mx.array:
        """Single rows, float32 [len(rows), columns], evaluated."""
        return self._unpack(
            lambda tensor: mx.concatenate([tensor.read(row, row + 1) for row in rows]), 0
        )

    def _unpack(self, read: Callable[[Rows], mx.array], expert: int) -> mx.array:
        found = read(self.weight)
        if self.packing is not None and self.scales is not None:
            scale = self.global_scale
            found = mx.dequantize(
                found,
                widen(read(self.scales)),  # so that scale * code + bias is rounded once
                None if self.biases is None else widen(read(self.biases)),
                self.packing.group_size,
                self.packing.bits,
                self.packing.mode,
                global_scale=None if scale is None else widen(scale.read_all()[expert]),
            )
        found = widen(found)  # modes with 8-bit scales dequantize to bfloat16, exactly
        mx.eval(found)
        return found


def widen(value: mx.array) -> mx.array:
    """Floating numbers in float32, others as they are."""
    return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value
