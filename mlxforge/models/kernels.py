"""Which of its kernels OpenBLAS is to take, by what the processor can do.

OpenBLAS goes by a list of processors' names, and gives one that is newer than itself the kernels of
2004, a fifth as fast. What it takes is told in keys: it is how sums are rounded, numpy's too, which
has an OpenBLAS of its own.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

__all__ = ["VARIABLE", "kernels", "rounding"]

VARIABLE = "OPENBLAS_CORETYPE"
CPUINFO = Path("/proc/cpuinfo")
ABLE = {
    "SkylakeX": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"},
    "Haswell": {"avx2", "fma"},
}
"""What kernels need, as Linux names it; the fastest first."""
NAMES = ("model name", "CPU implementer", "CPU part", "cpu", "machine")
"""Where Linux has what a processor is, on one machine or another."""


def kernels() -> str | None:
    """Their name, as ``VARIABLE`` takes it, which it may have already; None where the library is
    to choose for itself."""
    return os.environ.get(VARIABLE) or _suited(CPUINFO)


def rounding() -> str | None:
    """What keys tell of how sums are rounded: the kernels, or the processor where the library
    chooses by it; None where nothing is known of either."""
    return kernels() or _processor(CPUINFO)


@lru_cache
def _suited(cpuinfo: Path) -> str | None:
    every = [set(value.split()) for name, value in _told(cpuinfo) if name == "flags"]
    able = set.intersection(*every) if every else set()  # what runs on all of its cores
    return next((name for name, needed in ABLE.items() if needed <= able), None)


@lru_cache
def _processor(cpuinfo: Path) -> str | None:
    told = {f"{name} {value}" for name, value in _told(cpuinfo) if name in NAMES}
    return ", ".join(sorted(told)) or None


def _told(cpuinfo: Path) -> list[tuple[str, str]]:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return []
    parts = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in parts]
