"""What a layer loses at every width, by its own inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.layers.table import Layer
from mlxforge.models.scoring.leaves.swapped import PackedMatrix, rows_of_weight
from mlxforge.models.writing.packing import packer
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.modes import MODES

__all__ = ["WIDTHS", "Rounded", "Rounder"]

WIDTHS = tuple(sorted(MODES["affine"].bits))
PIECE_WEIGHTS = 1 << 20  # in one thread at a time


@dataclass(frozen=True)
class Rounded:
    """``errors``: by width the sum over a weight of h (w - q)^2, where q is what rounding leaves
    of w and h the mean square of the inputs that meet it (1 where none are known), each expert
    by its share of the tokens. ``packed``: the weight in the widths that were asked for."""

    errors: Mapping[int, float]
    packed: Mapping[int, PackedMatrix]


@dataclass(frozen=True)
class Rounder:
    """Rounds as the ``quantize`` step does: ``scales`` minmax or search, weighted by
    ``importances``; ``group_size`` and the dtype that weights are cast to, by MLX's name."""

    scales: str
    group_size: int
    cast: str | None
    importances: Mapping[str, Importance]

    def round(self, layer: Layer, module: nn.Module, wanted: Collection[int]) -> Rounded:
        """``module`` is where the weight of ``layer`` is."""
        weight = layer.weight
        *lead, columns = weight.shape
        rows = int(np.prod(lead))
        step = max(1, PIECE_WEIGHTS // columns)
        dtype = getattr(mx, weight.dtype_after(self.cast))
        pieces = list(
            in_order(
                (
                    partial(
                        self._piece, layer, module, start, min(start + step, rows), dtype, wanted
                    )
                    for start in range(0, rows, step)
                ),
                workers(),
            )
        )  # fmt: skip
        errors = {
            bits: sum(errors[place] for errors, _ in pieces) for place, bits in enumerate(WIDTHS)
        }
        packed = {bits: self._joined(layer, bits, [parts[bits] for _, parts in pieces])
                  for bits in wanted}  # fmt: skip
        return Rounded(errors, packed)

    def _joined(self, layer: Layer, bits: int, pieces: list[tuple[mx.array, ...]]) -> PackedMatrix:
        parts = tuple(mx.concatenate(list(part)) for part in zip(*pieces, strict=True))
        mx.eval(parts)
        label = f"{layer.path} in {bits} bits"
        return PackedMatrix(label, layer.weight.shape, parts, bits, self.group_size)

    def _piece(
        self,
        layer: Layer,
        module: nn.Module,
        start: int,
        stop: int,
        dtype: mx.Dtype,
        wanted: Collection[int],
    ) -> tuple[list[float], dict[int, tuple[mx.array, ...]]]:
        source = rows_of_weight(module, start, stop)
        heights = self._heights(layer, start, stop)
        errors, packed = [], {}
        for bits in WIDTHS:
            scheme = Scheme(bits, self.group_size, "affine")
            pack = packer(layer, scheme, self.scales, self.importances)
            parts = pack(source.astype(dtype), start)
            mx.eval(parts)
            matrix = PackedMatrix("", source.shape, parts, bits, self.group_size)
            off = mx.square(matrix.decode(0, len(source)) - source)
            if heights is not None:
                off = off * heights
            errors.append(float(np.asarray(off.sum(axis=1)).sum(dtype=np.float64)))
            if bits in wanted:
                packed[bits] = parts
        return errors, packed

    def _heights(self, layer: Layer, start: int, stop: int) -> mx.array | None:
        """Float32 [columns], or [stop - start, columns] of experts."""
        known = self.importances.get(layer.path)
        if known is None:
            return None
        if known.columns.ndim == 1:
            return mx.array(known.columns)
        share = known.tokens / max(int(known.tokens.sum()), 1)
        experts = np.arange(start, stop) // layer.weight.shape[-2]
        heights = known.columns * share[:, None].astype(np.float32)
        return mx.array(heights[experts])
