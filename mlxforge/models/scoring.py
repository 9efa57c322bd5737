"""A model made ready for scoring on this machine's device."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from mlxforge.errors import ForgeError
from mlxforge.models.blas import REFERENCE, serving
from mlxforge.models.load import to_float32
from mlxforge.models.source import read_config

__all__ = ["arithmetic", "check_length", "load_for_scoring"]


def load_for_scoring(folder: Path) -> nn.Module:
    """The model in ``folder``, weights lazy: dequantized float32 on a CPU, as stored on a GPU."""
    from mlx_lm.utils import load_model

    model, _ = load_model(folder, lazy=True)
    model.eval()
    return to_float32(model) if _on_cpu() else model


def check_length(folder: Path, sequence_length: int) -> None:
    """ForgeError where windows of that many tokens have more positions than the model knows."""
    config = read_config(folder)
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, dict) else {}):
        for name in ("max_position_embeddings", "n_positions"):
            limit = holder.get(name)
            if isinstance(limit, int) and 0 < limit < sequence_length:
                raise ForgeError(
                    f"sequence_length {sequence_length} is more than the model's {limit} positions",
                    f"use evaluate: {{sequence_length: {limit}}} or less",
                )


def arithmetic() -> str:
    """How the numbers were computed, in words, for the record."""
    if not _on_cpu():
        return "GPU, as stored"
    return f"CPU, float32, {serving() or REFERENCE}"


def _on_cpu() -> bool:
    return bool(mx.default_device() == mx.Device(mx.cpu))
