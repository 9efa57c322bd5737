"""Which of its kernels OpenBLAS is to take, by what the processor can do.

OpenBLAS goes by a list of processors' names, and gives one that is newer than itself the kernels of
2004, a fifth as fast. What it takes is told in keys: it is how sums are rounded.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

__all__ = ["VARIABLE", "kernels"]

VARIABLE = "OPENBLAS_CORETYPE"
CPUINFO = Path("/proc/cpuinfo")
ABLE = {
    "SkylakeX": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"},
    "Haswell": {"avx2", "fma"},
}
"""What kernels need, as Linux names it; the fastest first."""


def kernels() -> str | None:
    """Their name, as ``VARIABLE`` takes it, which it may have already; None where the library is
    to choose for itself."""
    return os.environ.get(VARIABLE) or _suited(CPUINFO)


@lru_cache
def _suited(cpuinfo: Path) -> str | None:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return None
    able = {word for line in lines if line.startswith("flags") for word in line.split()}
    return next((name for name, needed in ABLE.items() if needed <= able), None)
