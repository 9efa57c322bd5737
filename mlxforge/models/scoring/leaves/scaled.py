"""Layers whose weight is the one in their files with its rows and columns multiplied."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.scoring.leaves.fixed import Name, exchange_matrix
from mlxforge.models.scoring.leaves.held import Holder
from mlxforge.quantize.moved import Moved

__all__ = ["scale_weight"]


class ScaledMatrix:
    """In the place of ``matrix``, a mlxforge.models.scoring.leaves.matrix.Matrix: what a cast to
    ``dtype`` leaves of it, multiplied by the factors of ``moved``."""

    def __init__(self, matrix: Any, moved: Moved, dtype: mx.Dtype) -> None:
        self.weight = Name(f"{matrix.weight.name} scaled")
        self.shape: tuple[int, ...] = matrix.shape
        self.rows: int = matrix.rows
        self.columns: int = matrix.columns
        self._matrix, self._moved, self._dtype = matrix, moved, dtype

    def decode(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop``, float32 [stop - start, columns], evaluated."""
        found: mx.array = self._matrix.decode(start, stop).astype(self._dtype).astype(mx.float32)
        expert, row = np.divmod(np.arange(start, stop), self.shape[-2])
        if (rows := self._moved.rows) is not None:
            found = found * mx.array(rows[expert, row] if rows.ndim == 2 else rows[row])[:, None]
        if (columns := self._moved.columns) is not None:
            found = found * mx.array(columns[expert] if columns.ndim == 2 else columns)
        mx.eval(found)
        return found


def scale_weight(module: nn.Module, moved: Moved, dtype: mx.Dtype) -> None:
    """From now on ``module`` multiplies by its weight, cast to ``dtype``, with ``moved``'s factors:
    no embeddings, which give out rows one by one."""
    assert isinstance(module, Holder)
    exchange_matrix(module, ScaledMatrix(module._matrix, moved, dtype))
