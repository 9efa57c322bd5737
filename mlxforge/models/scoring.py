"""A model made ready for scoring on this machine's device."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.blas import REFERENCE, serving
from mlxforge.models.load import to_float32

__all__ = ["arithmetic", "load_for_scoring"]


def load_for_scoring(folder: Path) -> nn.Module:
    """The model in ``folder``, weights lazy: dequantized float32 on a CPU, as stored on a GPU."""
    from mlx_lm.utils import load_model

    model, _ = load_model(folder, lazy=True)
    model.eval()
    return to_float32(model) if _on_cpu() else model


def arithmetic() -> str:
    """How the numbers were computed, in words, for the record."""
    if not _on_cpu():
        return "GPU, as stored"
    return f"CPU, float32, {serving() or REFERENCE}"


def _on_cpu() -> bool:
    return bool(mx.default_device() == mx.Device(mx.cpu))
