"""Which of MLX's backends a build uses, known without importing MLX."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from mlxforge.errors import ForgeError

__all__ = ["BACKENDS", "backend", "use_backend"]

BACKENDS = ("cpu", "metal", "cuda")


@lru_cache
def backend() -> str:
    """``metal`` on a Mac, ``cuda`` where MLX's CUDA backend is installed, else ``cpu``.

    ``MLXFORGE_DEVICE=cpu`` asks for the CPU on any machine. Bytes and figures may differ between
    backends in the last bit, so the backend is part of a key.
    """
    asked = os.environ.get("MLXFORGE_DEVICE")
    if asked not in (None, "", "cpu", "gpu"):
        raise ForgeError(f"MLXFORGE_DEVICE is {asked!r}", "use cpu or gpu, or unset it")
    if asked == "cpu":
        return "cpu"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "metal"
    for name in ("mlx-cuda-13", "mlx-cuda-12"):
        try:
            version(name)
            return "cuda"
        except PackageNotFoundError:
            continue
    if asked == "gpu":
        raise ForgeError("MLXFORGE_DEVICE is gpu, and no GPU backend of MLX is installed")
    return "cpu"


def use_backend() -> str:
    """Make MLX run on what :func:`backend` promised; ForgeError where it cannot."""
    import mlx.core as mx

    promised = backend()
    mx.set_default_device(mx.cpu if promised == "cpu" else mx.gpu)
    actual = "cpu" if mx.default_device() == mx.Device(mx.cpu) else promised
    if promised != "cpu":
        try:
            mx.eval(mx.ones((1,)) + 1)
        except Exception as error:
            raise ForgeError(
                f"MLX's {promised} backend does not run here: {error}",
                "set MLXFORGE_DEVICE=cpu to build on the CPU",
            ) from error
    return actual
