"""Where a text stood between two blocks, for who goes on where a process was killed.

at-00012-source-3.safetensors   what the windows number 3 are when they come into block 12
at.safetensors                  which block that is, and what was known by then; written when
                                all windows are there
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from mlxforge.calibrate.kept import Kept, Pace
from mlxforge.calibrate.shelf import States

__all__ = ["Halts"]

AT = "at"
NOTHING: Mapping[str, mx.array] = {}


class Halts:
    """``states`` by name are those of each model that the text goes through."""

    def __init__(self, kept: Kept, states: Mapping[str, States]) -> None:
        self._kept = kept
        self._states = states
        self._pace = Pace()

    def keep(self, index: int, known: Mapping[str, mx.array] = NOTHING) -> None:
        """All windows stand before the block ``index``: they are kept with what is ``known``, if
        it is time and the disk has room beside what was kept before. States that are no plain
        arrays are not: the way there is gone again."""
        if self._pace.due() and self._kept.has_room(self._bytes(known)):
            with self._pace.keeping():
                self._keep(index, known)

    def _bytes(self, known: Mapping[str, mx.array]) -> int:
        states = sum(each.nbytes for each in self._states.values())
        return states + sum(each.nbytes for each in known.values())

    def _keep(self, index: int, known: Mapping[str, mx.array]) -> None:
        for name, states in self._states.items():
            for number, state in enumerate(states):
                if not isinstance(state, mx.array):
                    return
                self._kept.save(_name(index, name, number), {"state": state})
        self._kept.save(AT, known, index=index)
        for name in self._kept.names(f"{AT}-"):
            if not name.startswith(_name(index)):
                self._kept.drop(name)

    def found(self) -> tuple[int, Mapping[str, mx.array]]:
        """The block before which all windows stand now, and what was known there; the first one
        where nothing is kept."""
        found = self._kept.load(AT)
        if found is None:
            return 0, NOTHING
        known, facts = found
        index = int(facts["index"])
        for name, states in self._states.items():
            for number in range(len(states)):
                entry = self._kept.load(_name(index, name, number))
                assert entry is not None  # it was written before
                states[number] = entry[0]["state"]
        return index, known


def _name(index: int, *parts: object) -> str:
    return "-".join((AT, f"{index:05d}", *map(str, parts)))
