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

from mlxforge.models.leaves.supply import Range, Supply

__all__ = ["Held", "Holder", "Load", "used", "watched", "window"]

_trail: list[nn.Module] | None = None


Load = Callable[[Range | None], mx.array]


@dataclass
class Held:
    """What a module has in place of parameters: how each of them is read, and from what supply.

    ``rows`` is the extent of the weight's first axis, ``step`` the rows of a part of it,
    ``bytes`` what all of them would take in memory. ``window`` is a range of rows to which all of
    the module's parameters are cut down for the time being.
    """

    supply: Supply
    load: Mapping[str, Load]
    rows: int
    step: int
    bytes: int
    window: Range | None = None


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
        if not dict.__contains__(self, key):
            return self.__missing__(key)
        value = super().__getitem__(key)
        if self._held.window is not None and isinstance(value, mx.array):
            return value[slice(*self._held.window)]
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
    module._held.window = (start, stop)
    try:
        yield
    finally:
        module._held.window = None
