"""What comes into heads: the layers whose outputs are logits.

Of all layers their rounding costs most, and embeddings that are the head as well are wanted before
any other layer, so that whatever follows is fitted to embeddings as they will be. What comes into
a head is known from the source, at the end of ``calibrate``.

    heads.safetensors   by the head's path, or that of the embeddings whose weight it has, the mean
                        of x x^T over the inputs x of the head, float32 [columns, columns]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.hessians import Sums
from mlxforge.calibrate.observe import Given
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.saved import load_saved

__all__ = ["HeadSums", "read_heads"]

NAME = "heads.safetensors"


class HeadSums:
    """Sums over what comes into the heads of ``table``, those that are embeddings too among them,
    be it as one module or by a weight that two have."""

    def __init__(self, table: LayerTable) -> None:
        layers = {layer.path: layer for layer in table.layers if layer.quantizable}
        self._columns = {path: layer.weight.shape[-1] for path, layer in layers.items()}
        self._owners = {
            path: layer.tied if layer.tied in layers else path
            for path, layer in layers.items()
            if layer.role in ("lm_head", "embeddings")
        }
        self._sums: dict[str, Sums] = {}

    def add(self, path: str, given: Given) -> None:
        """What a head was given, if it is one of those."""
        if (own := self._owners.get(path)) is None:
            return
        if own not in self._sums:
            self._sums[own] = Sums(self._columns[own])
        sums = self._sums[own]
        sums.add(sums.look(given))

    def write(self, folder: Path) -> None:
        means = {
            path: mx.array(sums.means(path)[0].matrix.astype(np.float32))
            for path, sums in self._sums.items()
        }
        mx.save_safetensors(str(folder / NAME), means)


def read_heads(folder: Path) -> Mapping[str, np.ndarray]:
    """What ``HeadSums`` wrote, float64."""
    arrays, _ = load_saved(folder / NAME)
    return {path: np.array(matrix).astype(np.float64) for path, matrix in arrays.items()}
