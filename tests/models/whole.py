"""The plain way to score on a CPU, which streamed scoring is compared with."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.utils import dequantize_model

__all__ = ["to_float32"]


def to_float32(model: nn.Module) -> nn.Module:
    """Dequantize every layer of a model in memory and hold it in float32; lazily.

    ``weight = scale * code + bias`` is computed in float32 from the stored scales; in bfloat16 it
    would be rounded once more.
    """

    def widen(value: mx.array) -> mx.array:
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value

    def widen_parameters() -> None:
        model.update(tree_map_with_path(lambda _, value: widen(value), model.parameters()))

    widen_parameters()
    dequantize_model(model)
    widen_parameters()  # modes with 8-bit scales dequantize to bfloat16, exactly
    return model
