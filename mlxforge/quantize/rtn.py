"""Round to nearest: every group of weights on the grid between its least and greatest value.

With minimum ``a`` and maximum ``b`` of a group, ``w ~ scale * code + bias`` where code is one of
``2^bits`` integers (affine; MLX's ``mx.quantize``, same bytes as ``mlx_lm.convert``). The modes
mxfp4, mxfp8 (OCP Microscaling Formats v1.0) and nvfp4 round to a small float under a shared
8-bit scale per group instead.
"""

from __future__ import annotations

import mlx.nn as nn

from mlxforge.quantize.scheme import Scheme

__all__ = ["quantize_module"]


def quantize_module(module: nn.Module, scheme: Scheme) -> nn.Module:
    """The quantized counterpart of a leaf module; lazy.

    ``module.weight`` is [..., output_dims, input_dims] in float16, bfloat16 or float32. The result
    holds ``weight`` (uint32, [..., output_dims, input_dims * bits / 32]), ``scales`` and, for
    affine, ``biases`` ([..., output_dims, input_dims / group_size]).
    """
    quantized: nn.Module = module.to_quantized(
        group_size=scheme.group_size, bits=scheme.bits, mode=scheme.mode
    )
    return quantized
