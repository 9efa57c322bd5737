"""Sigmoids of float32 on a CPU, by numpy: MLX computes them there number by number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

__all__ = ["quick_sigmoid"]

PIECE = 1 << 16  # numbers, that stay in the cache


@contextmanager
def quick_sigmoid() -> Iterator[None]:
    """``mx.sigmoid`` in a fifth of the time, wherever a model calls it outside of what is compiled.
    What it is given is evaluated."""
    original = mx.sigmoid

    def sigmoid(a: Any, **rest: Any) -> mx.array:
        if rest or not isinstance(a, mx.array) or a.dtype != mx.float32:
            return original(a, **rest)
        found = -a
        mx.eval(found)
        _into_sigmoid(np.array(found, copy=False).reshape(-1))
        return found

    mx.sigmoid = sigmoid
    try:
        yield
    finally:
        mx.sigmoid = original


def _into_sigmoid(negated: np.ndarray) -> None:
    """1 / (1 + e^x) of each x in place, 0 where e^x is infinite."""
    with np.errstate(over="ignore"):
        for start in range(0, negated.size, PIECE):
            piece = negated[start : start + PIECE]
            np.exp(piece, out=piece)
            piece += 1
            np.reciprocal(piece, out=piece)
