"""How rows of a weight become codes, scales and biases: one function per layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx

from mlxforge.models.layers.table import Layer
from mlxforge.quantize import rtn
from mlxforge.quantize.affine import Affine, pack
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.means import keep_means
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search

__all__ = ["Pack", "packer"]

Pack = Callable[[mx.array, int], tuple[mx.array, ...]]
"""Rows of a weight [n, columns] and the number of the first: words, scales and biases."""


def packer(
    layer: Layer, scheme: Scheme, scales: str, importances: Mapping[str, Importance]
) -> Pack:
    """``scales``: minmax, MLX's own grids; or search, those of least error, weighted by the
    layer's importance where it is known, with codes that keep the products with the inputs' mean.
    Grids of other modes than affine are not searched."""
    if scales == "minmax" or scheme.mode != "affine":
        return lambda rows, start: rtn.pack(rows, scheme)
    importance = importances.get(layer.path)
    own = layer.weight.shape[-2]  # rows of one expert

    def searched(rows: mx.array, start: int) -> tuple[mx.array, ...]:
        found = []
        wide = rows.astype(mx.float32)
        mx.eval(wide)
        for first in range(start - start % own, start + len(rows), own):
            part = wide[max(0, first - start) : first + own - start]
            squares = means = None
            if importance is not None:
                expert = first // own
                squares, means = importance.likely(expert), importance.likely_means(expert)
            entry = search(part, scheme.bits, scheme.group_size, rows.dtype, squares)
            if squares is not None and means is not None:
                entry = keep_means(part, entry, squares, means, scheme.bits)
            found.append(entry)
        return _packed(found, scheme.bits)

    return searched


def _packed(parts: list[Affine], bits: int) -> tuple[mx.array, ...]:
    words = [pack(part.codes, bits) for part in parts]
    scales, biases = [part.scales for part in parts], [part.biases for part in parts]
    return tuple(
        entries[0] if len(entries) == 1 else mx.concatenate(entries)
        for entries in (words, scales, biases)
    )
