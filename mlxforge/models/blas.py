"""A fast BLAS for MLX's CPU backend, loaded before MLX is.

MLX's Linux wheel carries the reference BLAS, about 4 GFLOP/s. An optimized library with plain
symbol names, loaded into the global scope first, serves MLX's ``cblas_sgemm`` instead, 15 to 50
times faster. macOS has Accelerate and needs none of this.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mlxforge.errors import ForgeError
from mlxforge.models.kernels import VARIABLE, kernels

__all__ = ["ADVICE", "REFERENCE", "load_blas", "promised", "serving"]

REFERENCE = "reference BLAS"

ADVICE = "no optimized BLAS found, scoring is slow: pip install 'mlxforge[blas]'"


_serving: str | None = None


def serving() -> str | None:
    """The name of the BLAS that was loaded in this process, None for MLX's own."""
    return _serving


def promised() -> str:
    """The name of what ``load_blas`` would load, as far as can be told without loading it; of a
    link, of what it leads to, which often has the version. How it rounds sums shows in the bytes of
    what is made of them."""
    system, asked = platform.system(), os.environ.get("MLXFORGE_BLAS")
    if system == "Darwin":
        return "Accelerate"
    return _file_name(asked) if asked and system == "Linux" else _first(system)


@lru_cache
def _first(system: str) -> str:
    found = _candidates() if system == "Linux" else iter(())
    return next(map(_file_name, found), REFERENCE)


def _file_name(library: str) -> str:
    """Without a folder it is looked for where the system has libraries, not here."""
    return Path(library).resolve().name if os.sep in library else library


def load_blas() -> str | None:
    """Load a BLAS into the global scope; to be called before the first ``import mlx.core``.

    Tries ``MLXFORGE_BLAS`` (a path, which must load), then libraries inside this environment,
    then the system's. Returns the name of what serves, or None for the reference BLAS.
    """
    global _serving
    if chosen := kernels():
        os.environ[VARIABLE] = chosen
    _serving = _load()
    return _serving


def _load() -> str | None:
    if platform.system() != "Linux":
        return "Accelerate" if platform.system() == "Darwin" else None
    if "mlx.core" in sys.modules:
        raise RuntimeError("load_blas() must run before mlx.core is imported")
    asked = os.environ.get("MLXFORGE_BLAS")
    if asked:
        if not _serves(asked):
            raise ForgeError(
                f"MLXFORGE_BLAS={asked} cannot be loaded, or has no cblas_sgemm",
                "give the path of a libopenblas.so.0 or libmkl_rt.so.2, or unset it",
            )
        return Path(asked).name
    return next((Path(name).name for name in _candidates() if _serves(name)), None)


def _candidates() -> Iterator[str]:
    for folder in map(Path, sys.path):
        for pattern in ("opencv_python*.libs/libopenblas*.so*", "../../libmkl_rt.so*"):
            yield from (str(path) for path in sorted(folder.glob(pattern)))
    for name in ("openblas", "mkl_rt"):
        found = ctypes.util.find_library(name)
        if found:
            yield found


def _serves(name: str) -> bool:
    """Load the library; True where it has what MLX asks for, under its plain name."""
    try:
        if not hasattr(ctypes.CDLL(name), "cblas_sgemm"):
            return False
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        return True
    except OSError:
        return False
