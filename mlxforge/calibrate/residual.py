"""What a layer's output is added to: the residual stream, in the blocks of any architecture.

With y the output of a layer, attention's last or the MLP's, a block goes on from r + c y, and who
fits the layer can make up for how far r has drifted as well. Where that is, is looked for: the
block is run on a few tokens as it is, and with y + d in the place of y. The first array that moves
by a multiple of d, and is more than that multiple of y, is r + c y, of those that modules are given
behind the layer and the one that the block gives; without y it has to be r. There is none where a
norm is between the two, as in gemma's blocks, nor in models whose blocks cannot be run one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlxforge.models.exchanged import called_as

__all__ = ["Residual", "find_residuals", "first_array"]

EXACT = 1e-3  # of an array's length, which rounding to float32 does not reach
DIGITS = 5  # of c

Modules = Mapping[str, nn.Module]
"""Of a block, by their paths in it."""

Attempt = Callable[[], Any]
"""What a block makes of a few tokens."""

Arrays = Mapping[str | None, mx.array]
"""What modules were given, by their paths in the block, in the order of their calls; by None what
the block gave, the first of several."""


@dataclass(frozen=True)
class Residual:
    """r + c y is what the module at ``path`` in the block is given, or what the block gives where
    that is None; ``share`` is c."""

    path: str | None
    share: float


@dataclass(frozen=True)
class _Move:
    """Of a layer's ``output`` by a ``change``, both [..., rows]."""

    output: mx.array
    change: mx.array


def find_residuals(
    within: Modules, attempt: Attempt, layers: Mapping[str, nn.Module]
) -> dict[str, Residual]:
    """Of those ``layers`` that have one, by whatever they go by here. Modules of the block are
    those ``within``, which has one use of each layer."""
    own = {id(module): path for path, module in within.items()}
    plain = _given(within, attempt) if own.keys() & {*map(id, layers.values())} else {}
    found = {}
    for name, layer in layers.items():
        path = own.get(id(layer))
        if path is None or path not in plain:
            continue
        with np.errstate(all="ignore"):  # of models that overflow
            residual = _residual(within, attempt, path, plain)
        if residual is not None:
            found[name] = residual
    return found


def first_array(made: Any) -> Any:
    """Of what a block made: the states that it hands on, which some blocks give with others."""
    leaves = tree_flatten(made)
    return leaves[0][1] if leaves else None


def _residual(within: Modules, attempt: Attempt, path: str, plain: Arrays) -> Residual | None:
    moves: list[_Move] = []
    with _instead(within[path], partial(_moved, plain), moves):
        moved = _given(within, attempt)
    shape = moves[0].output.shape
    y, d = _flat(moves[0].output), _flat(moves[0].change)
    calls = [*plain]
    for place in calls[calls.index(path) + 1 :]:
        if place not in moved or not plain[place].shape == moved[place].shape == shape:
            continue
        before, after = _flat(plain[place]), _flat(moved[place])
        share = float((after - before) @ d / (d @ d))
        if _small(after - before - share * d, share * d) and not _small(before - share * y, before):
            with _instead(within[path], mx.negative, []):
                without = _given(within, attempt)
            if place in without and _small(before - _flat(without[place]) - share * y, share * y):
                return Residual(place, float(f"{share:.{DIGITS}g}"))
            return None
    return None


def _moved(plain: Arrays, y: mx.array) -> mx.array:
    """Noise like the largest of the arrays that may be r + c y, so that it is lost in none."""
    like = [array.astype(mx.float32) for array in plain.values() if array.shape == y.shape]
    found = [float(mx.sqrt(mx.mean(mx.square(array)))) for array in like]
    return (max(found, default=0) or 1.0) * mx.random.normal(y.shape, key=mx.random.key(0))


def _instead(
    layer: nn.Module, change: Callable[[mx.array], mx.array], moves: list[_Move]
) -> AbstractContextManager[None]:
    """``layer`` with its output changed by what ``change`` makes of it."""
    kind = type(layer)

    def call(self: nn.Module, x: mx.array) -> mx.array:
        y: mx.array = kind.__call__(self, x)
        moves.append(_Move(y, change(y)))
        return y + moves[-1].change

    return called_as(layer, call)


def _given(within: Modules, attempt: Attempt) -> Arrays:
    """Of modules that are called once, and with an array."""
    found: dict[str | None, mx.array] = {}
    calls: Counter[str] = Counter()
    with ExitStack() as stack:
        for path, module in within.items():
            stack.enter_context(_telling(path, module, found, calls))
        after = attempt()
    once = {path: array for path, array in found.items() if calls[str(path)] == 1}
    if isinstance(states := first_array(after), mx.array):
        once[None] = states
    mx.eval(list(once.values()))
    return once


def _telling(
    path: str, module: nn.Module, found: dict[str | None, mx.array], calls: Counter[str]
) -> AbstractContextManager[None]:
    kind = type(module)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        calls[path] += 1
        if args and isinstance(args[0], mx.array):
            found[path] = args[0][...]  # some models change in place what they have given
        return kind.__call__(self, *args, **kwargs)

    return called_as(module, call)


def _flat(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32)).astype(np.float64).reshape(-1)


def _small(rest: np.ndarray, whole: np.ndarray) -> bool:
    return bool(np.linalg.norm(rest) < EXACT * np.linalg.norm(whole))
