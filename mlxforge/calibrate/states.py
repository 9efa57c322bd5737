"""What blocks hand on, of several runs at once: put together, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

__all__ = ["joinable", "joined", "part", "parted", "state_bytes"]


def joinable(state: Any, windows: int, length: int) -> bool:
    """Whether every array of ``state`` begins with the axes [windows, length]."""
    leaves = [value for _, value in tree_flatten(state)]
    return bool(leaves) and all(
        isinstance(value, mx.array) and value.shape[:2] == (windows, length) for value in leaves
    )


def joined(states: Sequence[Any]) -> Any:
    """States whose arrays begin with the windows, one after the other."""
    if len(states) == 1:
        return states[0]
    first, *rest = states
    return tree_map(lambda *arrays: mx.concatenate(arrays), first, *rest)


def parted(state: Any, count: int) -> list[Any]:
    """``joined`` undone, for states that are alike in shape."""
    return [tree_map(partial(_share, count, place), state) for place in range(count)]


def _share(count: int, place: int, array: mx.array) -> mx.array:
    own = len(array) // count
    return array[place * own : (place + 1) * own]


def part(state: Any, window: int, start: int, stop: int) -> Any:
    """Some tokens of one window; of no state none."""
    if state is None:
        return None
    return tree_map(lambda array: array[window : window + 1, start:stop], state)


def state_bytes(state: Any) -> int:
    return sum(value.nbytes for _, value in tree_flatten(state) if isinstance(value, mx.array))
