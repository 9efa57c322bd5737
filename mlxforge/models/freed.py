"""Memory that is freed goes back to the system soon.

Left alone, glibc keeps freed arrays of up to 32 MB in the arena of the thread that made them, where
those of other threads are not found: in a process that computes layer by layer on all cores a third
of its memory came to be such gaps.
"""

from __future__ import annotations

import ctypes
import platform
from functools import lru_cache

import mlx.core as mx

from mlxforge.quantize.cpu import on_cpu

__all__ = ["CACHE_BYTES", "give_back_freed"]

CACHE_BYTES = 64 << 20  # of freed memory that MLX may hold on to
ALONE = 7 << 20  # bytes of an array that is mapped for itself, and unmapped when it is freed
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h


@lru_cache
def give_back_freed() -> None:
    """For good, in this process. A GPU is slow to allocate: there MLX may hold on to a little."""
    mx.set_cache_limit(0 if on_cpu() else CACHE_BYTES)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, ALONE)
        mallopt(M_TRIM_THRESHOLD, ALONE)  # else small arrays would go back each time, too
        mallopt(M_ARENA_MAX, 2)
