"""Modules whose large parameters stay in their files until somebody touches them.

Such a module keeps its class, so that the architecture's own code sees what it knows: touching a
parameter, by ``module.weight`` or ``module["weight"]``, reads it, and nothing holds on to it
beyond the expression that it is used in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.scoring.leaves.supply import Range, Supply

__all__ = ["Held", "Holder", "Load", "Shape", "stood_in", "used", "watched", "window"]

_trail: list[nn.Module] | None = None


Load = Callable[[Range | None], mx.array]
Shape = tuple[tuple[int, ...], mx.Dtype]


@dataclass
class Held:
    """What a module has in place of parameters: how each of them is read, what it will look like
    (``shapes``), and from what supply; ``bytes`` is what all of them would take in memory.

    ``rows`` is the extent of the first axis that all of the module's parameters have in common,
    ``step`` the rows of a part; both are 0 where there is none, and nothing to be cut. ``window``
    is a range of rows to which the parameters are cut down for the time being, ``stand_ins`` are
    arrays that are given instead of them, and instead of their ``product`` with an input.
    """

    supply: Supply
    load: Mapping[str, Load]
    shapes: Mapping[str, Shape]
    rows: int
    step: int
    bytes: int
    window: Range | None = None
    stand_ins: Mapping[str, mx.array] | None = None


class Holder(nn.Module):  # type: ignore[misc]
    """The part that is added to a module's class; ``_held`` is set on each instance."""

    _held: Held

    def __missing__(self, key: str) -> mx.array:
        held = self.__dict__.get("_held")
        if held is None or key not in held.load:
            raise KeyError(key)
        used(self)
        found: mx.array = held.load[key](held.window)
        return found

    def __getitem__(self, key: str) -> Any:
        held = self.__dict__.get("_held")
        if held is not None and held.stand_ins is not None and key in held.stand_ins:
            return held.stand_ins[key]
        if not dict.__contains__(self, key):
            return self.__missing__(key)
        value = super().__getitem__(key)
        if held is not None and held.window is not None and isinstance(value, mx.array):
            return value[slice(*held.window)]
        return value

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or key in self.__dict__["_held"].load


def used(module: nn.Module) -> None:
    if _trail is not None and (not _trail or _trail[-1] is not module):
        _trail.append(module)


@contextmanager
def watched() -> Iterator[list[nn.Module]]:
    """The modules whose weights were used meanwhile, in order."""
    global _trail
    before, _trail = _trail, []
    try:
        yield _trail
    finally:
        _trail = before


@contextmanager
def window(module: Holder, start: int, stop: int) -> Iterator[None]:
    """``module`` as if its parameters had only the rows ``start`` to ``stop``."""
    assert 0 <= start < stop <= module._held.rows
    module._held.window = (start, stop)
    try:
        yield
    finally:
        module._held.window = None


@contextmanager
def stood_in(module: Holder, arrays: Mapping[str, mx.array]) -> Iterator[None]:
    """``module`` with ``arrays`` for its parameters; nothing of it is read or evaluated."""
    module._held.stand_ins = arrays
    try:
        yield
    finally:
        module._held.stand_ins = None
