"""On which machines a model fits, and with how long a context.

Counted are the weights and the cache of one context. On Apple silicon both must lie in memory that
Metal lets a process wire, its ``recommendedMaxWorkingSetSize``
(https://developer.apple.com/documentation/metal/mtldevice/recommendedmaxworkingsetsize): about two
thirds of the memory up to 36 GB, three quarters above. The system and other programs live in the
rest. Elsewhere it is all of the memory.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxforge.models.layers.cache import CacheBytes
from mlxforge.units import readable_bytes

__all__ = ["MACS", "Machine", "common_machines", "fit_rows", "most_context"]

GB = 1 << 30  # memory is sold in these
MACS = (8, 16, 24, 32, 64, 128)
ENDLESS = 1 << 20  # tokens: where a config sets no limit, nobody looks further


@dataclass(frozen=True)
class Machine:
    """``memory`` in bytes, of which a model may use ``usable``."""

    name: str
    memory: int
    usable: int


def common_machines() -> tuple[Machine, ...]:
    """This one, then Macs by their memory."""
    macs = (Machine(f"Mac, {size} GB", size * GB, _wired(size * GB)) for size in MACS)
    return (_this_machine(), *macs)


def most_context(
    machine: Machine, weights: int, cache: CacheBytes, positions: int | None
) -> int | None:
    """Tokens of the longest context that fits beside ``weights`` bytes, ``positions`` at most;
    None where not even a short one does."""
    return cache.most_tokens(machine.usable - weights, positions or ENDLESS) or None


def fit_rows(
    weights: int, cache: CacheBytes | None, positions: int | None
) -> Iterator[tuple[str, str, str]]:
    """Machine, memory that a model may use, longest context."""
    for machine in common_machines():
        yield (
            f"  {machine.name}",
            readable_bytes(machine.usable),
            _context(machine, weights, cache, positions),
        )


def _context(
    machine: Machine, weights: int, cache: CacheBytes | None, positions: int | None
) -> str:
    if weights >= machine.usable:
        return "does not fit"
    if cache is None:
        return "fits; what a context takes is not known"
    tokens = most_context(machine, weights, cache, positions)
    if tokens is None:
        return "does not fit"
    if tokens == positions:
        return f"{tokens:,} tokens, all that the model allows"
    return f"{tokens:,} tokens" + (" and more" if tokens == ENDLESS else "")


def _this_machine() -> Machine:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if platform.system() == "Darwin":
        return Machine("this machine", memory, _wired(memory))
    with contextlib.suppress(OSError, ValueError):  # a container may have less
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Machine("this machine", memory, memory)


def _wired(memory: int) -> int:
    return memory * 2 // 3 if memory <= 36 * GB else memory * 3 // 4
