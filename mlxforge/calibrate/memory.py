"""Where a method has room for what it holds while it learns; told before it begins.

What blocks hand on is on disk, but for a little, and in memory where the disk has no room for it.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mlxforge.calibrate.needs import NEEDS, shelf_bytes, states_bytes
from mlxforge.calibrate.shelf import Shelf
from mlxforge.errors import ForgeError
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.memory import available_bytes
from mlxforge.recipe.methods import FEWEST_TOKENS
from mlxforge.units import readable_bytes

__all__ = ["check_room", "lanes_for", "room_for_states", "shelf_for", "spare_shelf"]

ON_DISK = 4 << 30  # bytes, at most, of what could be computed again


@contextmanager
def shelf_for(kind: str, table: LayerTable, windows: np.ndarray, out: Path) -> Iterator[Shelf]:
    """Where the step ``kind`` has the states of ``windows``, int32 [samples, length], those that it
    learns from; what has to go to disk is in ``out`` for as long as it is needed. Raises ForgeError
    as room_for_states."""
    samples, length = windows.shape
    free, disk = available_bytes(), shutil.disk_usage(out).free
    room = room_for_states(kind, table, samples, length, free, disk)
    left = disk - states_bytes(kind, table, samples, length)
    with TemporaryDirectory(prefix="states-", dir=out) as folder:
        memory = min(room, max(shelf_bytes(kind, table), -left))
        yield Shelf(memory, Path(folder), spare=min(max(0, left) // 2, ON_DISK))


@contextmanager
def spare_shelf(out: Path) -> Iterator[Shelf]:
    """The same for a step that holds little else by then, and needs no more than there is."""
    with TemporaryDirectory(prefix="states-", dir=out) as folder:
        yield Shelf(available_bytes() // 2, Path(folder))


def lanes_for(kind: str, table: LayerTable, free: int) -> int:
    """On how many cores of a CPU the step ``kind`` may work at a time, where ``free`` bytes may be
    taken: half of what it leaves on one is for the others, as the other half is for states."""
    need = NEEDS[kind]
    return 1 + max(0, (free - need.bytes(table)) // 2) // max(1, need.lane(table))


def check_room(kind: str, table: LayerTable) -> None:
    """ForgeError where the memory does not do for the step ``kind``, which has no states."""
    room_for_states(kind, table, 0, 0, available_bytes(), 0)


def room_for_states(
    kind: str, table: LayerTable, samples: int, length: int, free: int, disk: int
) -> int:
    """Of the ``free`` bytes of memory those that may hold states: half of what the step ``kind``
    leaves. Raises ForgeError where it does not fit, or where ``disk`` has no room for the rest of
    the states, with the samples that would fit."""
    need = NEEDS[kind]
    own = need.bytes(table)
    if own > free:
        raise ForgeError(
            f"{kind} needs about {readable_bytes(own)} of memory for {need.what}, and may take "
            f"{readable_bytes(free)}",
            f"{need.instead}, or more memory",
            key="method",
        )
    room = (free - own) // 2

    def needs(samples: int) -> int:
        return states_bytes(kind, table, samples, length)

    needed = needs(samples)
    if needed > room + disk:
        fitting = bisect_right(range(samples), room + disk, key=needs) - 1
        raise ForgeError(
            f"{kind} needs about {readable_bytes(needed)} for what {samples} samples of {length} "
            f"tokens become, and there are {readable_bytes(room)} of memory and "
            f"{readable_bytes(disk)} of disk",
            f"calibrate: {{samples: {fitting}}} fits"
            if fitting > 1 and fitting * length >= FEWEST_TOKENS
            else "a smaller sequence_length",
            key="samples",
        )
    return room
