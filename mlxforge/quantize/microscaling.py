"""mxfp4, mxfp8 and nvfp4 on a CPU: the bytes of ``mx.quantize``, many times faster.

A group of weights shares a scale made from its largest magnitude m, and each weight, divided by
that scale, becomes a small float (OCP Microscaling Formats v1.0, section 6.3, but for the scales:
MLX takes the power of two above, so that nothing saturates):

    mode    group   scale                              code
    mxfp4    32     e8m0, power of two >= m / 6        e2m1, ties to the smaller magnitude
    mxfp8    32     e8m0, power of two >= m / 448      e4m3, ties to even
    nvfp4    16     e4m3, nearest to m / 6             e2m1, ties to the smaller magnitude

MLX's CPU backend looks for a weight's nearest e2m1 number in its distances from all sixteen, arrays
of sixteen times the weights; here blocks of weights are compared with seven midpoints. MLX rounds
quotients to the weights' dtype and here they are float32: that changes no byte, because a boundary
between codes or scales times its divisor is a number of each dtype, and the next number is beyond
it by more than the rounding takes back. Only a scale made from float16's subnormals is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import numpy as np

from mlxforge.quantize.cpu import on_cpu
from mlxforge.quantize.minifloat import (
    SOURCES,
    Bits,
    Bytes,
    Floats,
    Mask,
    Source,
    e2m1,
    e4m3,
    e4m3_values,
    e8m0,
)

__all__ = ["pack"]

BLOCK = 1 << 18  # weights; smaller ones spend their time in Python, and threads wait for its lock


@dataclass(frozen=True)
class Mode:
    bits: int
    group_size: int
    largest: int  # number that a code stands for
    scale: Literal["e8m0", "e4m3"]


MODES = {
    "mxfp4": Mode(4, 32, 6, "e8m0"),
    "mxfp8": Mode(8, 32, 448, "e8m0"),
    "nvfp4": Mode(4, 16, 6, "e4m3"),
}


def pack(weight: mx.array, mode: str) -> tuple[mx.array, mx.array]:
    """``weight`` quantized as ``mx.quantize(weight, mode=mode)`` does, evaluated.

    weight: [..., columns] in float16, bfloat16 or float32. Returns codes, uint32
    [..., columns * bits / 32], and scales, uint8 [..., columns / group_size]. On a GPU, whose
    kernels are fast, and for what MLX refuses, this is ``mx.quantize`` itself.
    """
    form = MODES[mode]
    source = SOURCES.get(str(weight.dtype).removeprefix("mlx.core."))
    *rows, columns = weight.shape
    if not on_cpu() or source is None or columns % form.group_size:
        return _upstream(weight, mode)
    unsigned = mx.uint32 if weight.dtype == mx.float32 else mx.uint16
    bits = np.asarray(weight.view(unsigned)).reshape(-1, form.group_size)
    codes = np.empty((len(bits), form.group_size * form.bits // 8), np.uint8)
    scales = np.empty(len(bits), np.uint8)
    usual = np.empty(len(bits), np.bool_)
    step = BLOCK // form.group_size
    with np.errstate(all="ignore"):  # of the groups that are not usual
        for start in range(0, len(bits), step):
            part = slice(start, start + step)
            codes[part], scales[part], usual[part] = _pack_groups(bits[part], form, source)
    unusual = np.flatnonzero(~usual)
    if unusual.size:
        # MLX packs nvfp4 two groups at a time
        unusual = np.resize(unusual, unusual.size + unusual.size % 2)
        theirs = _upstream(mx.array(bits[unusual]).view(weight.dtype), mode)
        codes[unusual] = np.asarray(theirs[0].view(mx.uint8))
        scales[unusual] = np.asarray(theirs[1]).reshape(-1)
    return (
        mx.array(codes.view(np.uint32).reshape(*rows, columns * form.bits // 32)),
        mx.array(scales.reshape(*rows, columns // form.group_size)),
    )


def _upstream(weight: mx.array, mode: str) -> tuple[mx.array, mx.array]:
    form = MODES[mode]
    codes, scales, *_ = mx.quantize(weight, form.group_size, form.bits, mode=mode)
    return codes, scales


def _pack_groups(bits: Bits, form: Mode, source: Source) -> tuple[Bytes, Bytes, Mask]:
    """Codes, scales, and which groups they hold for, of weights given as bits [groups, size].

    A group is unusual with an infinity or NaN in it, or a scale that its format does not reach.
    """
    magnitudes = bits & bits.dtype.type(source.sign - 1)
    maxima = _maxima(magnitudes)
    scales, divisors, usual = _scales(source.widen(maxima), form, source)
    values = source.widen(magnitudes)
    values /= divisors[:, None]
    negative = bits >= source.sign
    if form.bits == 8:
        codes = e4m3(values)
        signs = negative.view(np.uint8)
        signs *= 128
        codes |= signs
    else:
        pairs = e2m1(values, negative).view(np.uint16)
        pairs |= pairs >> 4
        codes = pairs.astype(np.uint8)
    return codes, scales, usual & (maxima < source.infinity)


def _maxima(magnitudes: Bits) -> Bits:
    """The largest of each row; as integers numbers without sign are in their own order."""
    found = magnitudes.reshape(-1)
    # halving everything at once: a reduction of rows this short starts too many loops
    while len(found) > len(magnitudes):
        found = np.maximum(found[0::2], found[1::2])
    return found


def _scales(maxima: Floats, form: Mode, source: Source) -> tuple[Bytes, Floats, Mask]:
    """Scales as bytes, as what weights are divided by, and where both can be relied on."""
    quotients = source.round(maxima / np.float32(form.largest))
    if form.scale == "e8m0":
        zero = quotients == 0
        usual = zero | (quotients >= np.finfo(np.float32).tiny)
        quotients[zero] = 1
        return *e8m0(quotients), usual
    usual = quotients <= 448
    scales = e4m3(quotients)
    divisors = e4m3_values(scales)
    divisors[scales == 0] = np.inf  # every code is 0 there
    return scales, divisors, usual
