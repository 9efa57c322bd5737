"""How much memory is there to be taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_bytes"]


def available_bytes(root: Path = Path("/")) -> int:
    """What this process may still take without anything being swapped or killed.

    On Linux the kernel's estimate, or less where a control group (v2) leaves less; elsewhere a
    quarter of the machine's memory. ``root`` is where ``proc`` and ``sys`` are.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    return max(0, min([free, *_left_by_groups(root)]))


def _left_by_groups(root: Path) -> Iterator[int]:
    """What the limits of this process's control group and of those around it leave."""
    mount = root / "sys/fs/cgroup"
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        path = next(line[3:].lstrip("/") for line in own if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    for group in (mount / path, *(mount / path).parents):
        try:
            limit = (group / "memory.max").read_text().strip()
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            stat, limit = {}, "max"
        if limit != "max":  # cached files count as used, and make room
            yield int(limit) - used + int(stat.get("inactive_file", 0))
        if group == mount:
            return
