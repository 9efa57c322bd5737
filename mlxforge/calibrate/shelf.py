"""Where what blocks hand on waits for the next block: in memory as far as there is room, on disk
beyond that. Either way it comes back with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from mlxforge.calibrate.states import state_bytes

__all__ = ["Shelf", "States"]


class Shelf:
    """``room`` bytes of memory for all ``states`` of it; what finds none is written into
    ``folder``, which is the caller's to remove. Without a ``folder`` all has room."""

    def __init__(self, room: int = 0, folder: Path | None = None) -> None:
        self._left = room
        self._folder = folder
        self._made = 0

    def states(self, count: int) -> States:
        """Places for ``count`` states, None at first."""
        self._made += 1
        return States(self, count, f"{self._made}")

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes, which is taken then."""
        if self._folder is not None and size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        self._left += size

    def file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name


class States:
    """Trees of arrays by number. One thread puts them there; others may take what it does not put
    meanwhile."""

    def __init__(self, shelf: Shelf, count: int, name: str) -> None:
        self._shelf = shelf
        self._name = name
        self._held: list[Any] = [None] * count
        self._sizes = [0] * count

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Any:
        held = self._held[number]
        return held.read() if isinstance(held, _Filed) else held

    @property
    def nbytes(self) -> int:
        """Of all of them, wherever they are."""
        return sum(self._sizes)

    def __setitem__(self, number: int, state: Any) -> None:
        before, self._held[number] = self._held[number], None
        if not isinstance(before, _Filed):
            self._shelf.give_back(self._sizes[number])
        self._sizes[number] = state_bytes(state)
        fits = self._shelf.take(self._sizes[number])
        self._held[number] = state if fits else self._filed(number, state)

    def _filed(self, number: int, state: Any) -> _Filed:
        file = self._shelf.file(f"{self._name}-{number}.npy")
        with file.open("wb") as out:
            for _, leaf in tree_flatten(state):
                if isinstance(leaf, mx.array):
                    np.save(out, _numbers(leaf), allow_pickle=False)
        return _Filed(file, tree_map(_place, state))


@dataclass(frozen=True)
class _Place:
    """Of an array that is in a file."""

    dtype: mx.Dtype


@dataclass(frozen=True)
class _Filed:
    """A state in a ``file``: its arrays one after the other, in the order of the ``tree``."""

    file: Path
    tree: Any

    def read(self) -> Any:
        with self.file.open("rb") as stored:

            def filled(leaf: Any) -> Any:
                if not isinstance(leaf, _Place):
                    return leaf
                array = mx.array(np.load(stored, allow_pickle=False))
                return array.view(leaf.dtype) if leaf.dtype == mx.bfloat16 else array

            state = tree_map(filled, self.tree)
        mx.eval(state)  # by the thread that reads it
        return state


def _place(leaf: Any) -> Any:
    return _Place(leaf.dtype) if isinstance(leaf, mx.array) else leaf


def _numbers(array: mx.array) -> np.ndarray:
    """NumPy has no bfloat16."""
    return np.asarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)
