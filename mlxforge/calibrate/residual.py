"""What a layer's output is added to: the residual stream, in the blocks of any architecture.

With y the output of a layer, attention's last or the MLP's, a block goes on from r + c y, and who
fits the layer can make up for how far r has drifted as well. Where that is, is looked for: the
block is run on a few tokens as it is, and with y + d in the place of y. The first array that moves
by a multiple of d is r + c y, of those that modules are given behind the layer and the one that the
block gives. There is none where a norm is between the two, as in gemma's blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.exchanged import called_as

__all__ = ["Residual", "find_residuals"]

EXACT = 1e-3  # of an array's length, which rounding does not reach
DIGITS = 3  # of c

Modules = Mapping[str, nn.Module]
"""Of a block, by their paths in it."""

Attempt = Callable[[], Any]
"""What a block makes of a few tokens."""

Arrays = Mapping[str | None, mx.array]
"""What modules were given, by their paths in the block, in the order of their calls; by None what
the block gave."""


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
        if (residual := _residual(within, attempt, path, plain)) is not None:
            found[name] = residual
    return found


def _residual(within: Modules, attempt: Attempt, path: str, plain: Arrays) -> Residual | None:
    moves: list[_Move] = []
    with _moving(within[path], _length(plain), moves):
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
            return Residual(place, float(f"{share:.{DIGITS}g}"))
    return None


def _moving(layer: nn.Module, length: float, moves: list[_Move]) -> AbstractContextManager[None]:
    """``layer`` with noise of that root mean square in its output."""
    kind = type(layer)

    def call(self: nn.Module, x: mx.array) -> mx.array:
        y: mx.array = kind.__call__(self, x)
        moves.append(_Move(y, length * mx.random.normal(y.shape, key=mx.random.key(0))))
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
    if isinstance(after, mx.array):
        once[None] = after
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


def _length(arrays: Arrays) -> float:
    """The largest root mean square, so that a change by it is lost in none of them."""
    found = [mx.sqrt(mx.mean(mx.square(array.astype(mx.float32)))) for array in arrays.values()]
    return max((float(each) for each in found), default=0) or 1.0


def _flat(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32)).astype(np.float64).reshape(-1)


def _small(rest: np.ndarray, whole: np.ndarray) -> bool:
    return bool(np.linalg.norm(rest) < EXACT * np.linalg.norm(whole))
