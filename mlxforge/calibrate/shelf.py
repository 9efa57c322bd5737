"""Where what blocks hand on, and what would have to be computed again, waits until it is asked for:
in memory as far as there is room, on disk beyond that. Either way it comes back with the same bits.

The system keeps files in memory that nothing else needs, so that little memory of its own costs a
shelf little time where there is much.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from mlxforge.calibrate.states import state_bytes

__all__ = ["Place", "Shelf", "States"]


class Shelf:
    """``room`` bytes of memory for all that is put there; what finds none is written into
    ``folder``, which is the caller's to remove: no more than ``spare`` bytes of what could be made
    again. Without a ``folder`` there is always room for what could not. Any thread may put."""

    def __init__(self, room: int = 0, folder: Path | None = None, spare: int = 0) -> None:
        self._memory, self._disk = _Room(room), _Room(spare)
        self._folder = folder
        self._names = count()

    def states(self, number: int) -> States:
        """Places for so many states, None at first."""
        return States(self, number)

    def put(self, state: Any) -> Place:
        """A tree of arrays, for as long as the place is not left."""
        size = state_bytes(state)
        if self._memory.take(size):
            return Place(state, self._memory, size)
        if self._folder is None:
            return Place(state)
        return _filed(self._file(), state)

    def spare(self, state: Any) -> Place | None:
        """The same, where there is room, for what could be made again or be elsewhere."""
        size = state_bytes(state)
        if not self._memory.take(size):
            return self.spare_on_disk(state)
        mx.eval(state)
        return Place(state, self._memory, size)

    def spare_on_disk(self, state: Any) -> Place | None:
        """For what will be asked for, and then hardly be used."""
        size = state_bytes(state)
        if self._folder is None or not self._disk.take(size):
            return None
        file = self._file()
        try:
            return _filed(file, state, self._disk, size)
        except OSError:
            file.unlink(missing_ok=True)
            self._disk.give_back(size)
            return None

    def _file(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{next(self._names)}.safetensors"


class _Room:
    def __init__(self, left: int) -> None:
        self._left = left
        self._guard = threading.Lock()

    def take(self, size: int) -> bool:
        with self._guard:
            fits = size <= self._left
            self._left -= size * fits
            return fits

    def give_back(self, size: int) -> None:
        with self._guard:
            self._left += size


@dataclass(frozen=True)
class Place:
    """Where a ``state`` is; of one in a ``file`` only the shape of its tree. It takes ``size``
    bytes of ``room``."""

    state: Any
    room: _Room | None = None
    size: int = 0
    file: Path | None = None

    def read(self) -> Any:
        """The state, the caller's own: some models change in place what they are given. What is in
        a file is not read before it is used."""
        if self.file is None:
            return tree_map(_own, self.state)
        found = mx.load(str(self.file))
        assert isinstance(found, dict)
        return tree_map(partial(_filled, found), self.state)

    def leave(self) -> None:
        if self.file is not None:
            self.file.unlink(missing_ok=True)
        if self.room is not None:
            self.room.give_back(self.size)


@dataclass(frozen=True)
class _Hole:
    """Where an array of a tree was, which has this ``name`` in a file."""

    name: str


def _own(leaf: Any) -> Any:
    return leaf[...] if isinstance(leaf, mx.array) else leaf


def _filled(found: Mapping[str, mx.array], leaf: Any) -> Any:
    return found[leaf.name] if isinstance(leaf, _Hole) else leaf


def _filed(file: Path, state: Any, room: _Room | None = None, size: int = 0) -> Place:
    arrays: dict[str, mx.array] = {}

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, mx.array) or not leaf.size:
            return leaf
        name = str(len(arrays))
        arrays[name] = leaf
        return _Hole(name)

    tree = tree_map(moved, state)
    with file.open("wb") as out:  # MLX tells an error of the disk only through a file of Python's
        mx.save_safetensors(out, arrays)
    return Place(tree, room, size, file)


class States:
    """Trees of arrays by number. One thread puts them there; others may take what it does not put
    meanwhile."""

    def __init__(self, shelf: Shelf, number: int) -> None:
        self._shelf = shelf
        self._places = [Place(None)] * number
        self._sizes = [0] * number

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Any:
        state = self._places[number].read()
        mx.eval(state)  # by the thread that reads it
        return state

    @property
    def nbytes(self) -> int:
        """Of all of them, wherever they are."""
        return sum(self._sizes)

    def __setitem__(self, number: int, state: Any) -> None:
        before, self._places[number] = self._places[number], Place(None)
        before.leave()
        self._places[number] = self._shelf.put(state)
        self._sizes[number] = state_bytes(state)
