"""What gradients flow through of the states that blocks hand on: their arrays of floating numbers.

Most blocks give one array; some give several, and numbers or nothing beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

__all__ = ["flowing", "with_flowing"]


def flowing(state: Any) -> list[mx.array]:
    """In the order in which they stand in ``state``."""
    return [value for _, value in tree_flatten(state) if _flows(value)]


def with_flowing(state: Any, arrays: Sequence[mx.array]) -> Any:
    """``state`` with ``arrays`` in the place of its own."""
    left = iter(arrays)
    return tree_map(lambda value: next(left) if _flows(value) else value, state)


def _flows(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)
