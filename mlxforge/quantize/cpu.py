"""Whether MLX works on a CPU, where numpy takes its place in loops, and what numpy lacks there."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "on_cpu", "stored", "turned"]

Floats = npt.NDArray[np.float32]

TILE = 32  # rows


def on_cpu() -> bool:
    """Of the default device."""
    return bool(mx.default_device() == mx.Device(mx.cpu))


def stored(values: Floats, dtype: mx.Dtype) -> Floats:
    """Float32 ``values``, contiguous, rounded to ``dtype`` (float16, bfloat16 or float32) as MLX
    rounds them: the nearest, of two as near the even one. In float32; where not a number, so."""
    if dtype == mx.float32:
        return values
    if dtype == mx.float16:
        return values.astype(np.float16).astype(np.float32)
    assert dtype == mx.bfloat16, dtype
    words = values.view(np.uint32)
    odd = (words >> 16) & 1
    rounded = (words + (0x7FFF + odd)) & 0xFFFF0000
    return np.where(np.isnan(values), values, rounded.view(np.float32))


def turned(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``matrix`` [rows, columns] as [columns, rows], contiguous, a few rows at a time: of those
    that are read, all columns stay in the cache until they are written."""
    found = np.empty(matrix.shape[::-1], matrix.dtype)
    for start in range(0, len(matrix), TILE):
        found[:, start : start + TILE] = matrix[start : start + TILE].T
    return found
