"""Where something is kept that will be asked for again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Held", "Keep", "Kept", "in_memory"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kept(Protocol[T_co]):
    """One or more arrays somewhere."""

    def read(self) -> T_co: ...

    def leave(self) -> None:
        """They are asked for no more."""


Keep = Callable[[T], Kept[T] | None]
"""Brings arrays to where they are kept, if there is room."""


@dataclass(frozen=True)
class Held(Generic[T]):
    """In memory."""

    arrays: T

    def read(self) -> T:
        return self.arrays

    def leave(self) -> None:
        pass


def in_memory(arrays: T) -> Kept[T] | None:
    return Held(arrays)
