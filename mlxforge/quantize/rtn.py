"""Round to nearest: every group of weights on the grid between its least and greatest value.

With minimum ``a`` and maximum ``b`` of a group, ``w ~ scale * code + bias`` where code is one of
``2^bits`` integers (affine; MLX's ``mx.quantize``, same bytes as ``mlx_lm.convert``). The modes
mxfp4, mxfp8 (OCP Microscaling Formats v1.0) and nvfp4 round to a small float under a shared
8-bit scale per group instead.
"""

from __future__ import annotations

import mlx.core as mx

from mlxforge.quantize import microscaling
from mlxforge.quantize.cpu import on_cpu
from mlxforge.quantize.scheme import Scheme

__all__ = ["pack", "unpack"]


def pack(weight: mx.array, scheme: Scheme) -> tuple[mx.array, ...]:
    """Weight, scales and, for affine, biases, as ``mx.quantize`` gives them; affine
    ones lazy.

    ``weight`` is [rows, columns] in float16, bfloat16 or float32. Returns uint32
    [rows, columns * bits / 32] and the rest [rows, columns / group_size].
    """
    size, bits = scheme.group_size, scheme.bits
    if scheme.mode != "affine":
        return microscaling.pack(weight, scheme.mode)
    if weight.dtype == mx.float32 or not on_cpu():
        return tuple(mx.quantize(weight, group_size=size, bits=bits))
    # The CPU's kernel computes in float32 whatever the dtype is and rounds scales and biases at
    # the end. Widened first, which is exact, the same comes out in half the time.
    codes, *rest = mx.quantize(weight.astype(mx.float32), group_size=size, bits=bits)
    return (codes, *(value.astype(weight.dtype) for value in rest))


def unpack(packed: tuple[mx.array, ...], scheme: Scheme) -> mx.array:
    """The weights [rows, columns] that ``packed`` stands for: in the dtype of affine scales,
    bfloat16 for the other modes; lazy."""
    codes, scales, *biases = packed
    found: mx.array = mx.dequantize(
        codes, scales, biases[0] if biases else None,
        group_size=scheme.group_size, bits=scheme.bits, mode=scheme.mode,
    )  # fmt: skip
    return found
