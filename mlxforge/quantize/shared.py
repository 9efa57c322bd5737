"""Arrays in memory that MLX and NumPy have together: of large ones a copy is what costs most."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt

__all__ = ["shared"]


def shared(*shape: int) -> tuple[mx.array, npt.NDArray[np.float32]]:
    """Zeros, float32, and the same memory to be written into."""
    room = mx.zeros(shape, mx.float32, stream=mx.cpu)
    mx.eval(room)
    return room, np.array(room, copy=False)
