"""Weights on a grid of integers per group: how methods that choose their own codes hand them over.

In a row, every ``group_size`` weights next to each other share a scale and a bias, and a weight is
``scale * code + bias`` with a code of ``bits`` bits (the mode that MLX calls affine).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

__all__ = ["Affine", "decode", "joined", "pack", "unpack"]


@dataclass(frozen=True)
class Affine:
    """codes: uint8 [rows, columns]; scales, biases: [rows, columns // group_size] in the dtype
    that is stored (bfloat16, float16 or float32); the weight that they stand for is
    scales * codes + biases, in float32."""

    codes: mx.array
    scales: mx.array
    biases: mx.array


def joined(parts: Sequence[Affine]) -> Affine:
    """Rows below rows; lazy."""
    if len(parts) == 1:
        return parts[0]
    return Affine(
        mx.concatenate([part.codes for part in parts]),
        mx.concatenate([part.scales for part in parts]),
        mx.concatenate([part.biases for part in parts]),
    )


def pack(codes: mx.array, bits: int) -> mx.array:
    """Codes below 2^bits, uint8 [rows, columns], as MLX holds them: uint32
    [rows, columns * bits // 32]; lazy.

    A row is one string of bits, the first code's lowest bit first, for each of 2, 3, 4, 5, 6 and
    8 bits. ``columns`` is a multiple of 32.
    """
    *rows, columns = codes.shape
    if bits == 8:
        return codes.view(mx.uint32)
    # eight codes in a word of 64 bits, pushed together two by two: eight codes in 8 * bits bits
    words = codes.view(mx.uint64)
    for width, used in ((8, bits), (16, 2 * bits), (32, 4 * bits)):
        lower = _fields(width, used)
        words = (words & lower) | ((words >> (width - used)) & (lower << used))
    found: mx.array = words.view(mx.uint8).reshape(*rows, columns // 8, 8)[..., :bits]
    return found.reshape(*rows, columns * bits // 8).view(mx.uint32)


def unpack(words: mx.array, bits: int) -> mx.array:
    """The codes that ``pack`` made these words of; lazy."""
    groups = (len(words), words.shape[-1] * 32 // bits // 32)
    ones, zeros = mx.ones(groups), mx.zeros(groups)
    return mx.dequantize(words, ones, zeros, group_size=32, bits=bits).astype(mx.uint8)


def _fields(width: int, used: int) -> mx.array:
    """A word of 64 bits in which the lowest ``used`` of every second ``width`` are set."""
    return mx.array(sum(((1 << used) - 1) << at for at in range(0, 64, 2 * width)), mx.uint64)


def decode(affine: Affine, group_size: int) -> mx.array:
    """The weights that ``affine`` stands for, float32 [rows, columns]; lazy."""
    rows, columns = affine.codes.shape
    codes = affine.codes.reshape(rows, columns // group_size, group_size).astype(mx.float32)
    scales, biases = (part.astype(mx.float32)[..., None] for part in (affine.scales, affine.biases))
    found: mx.array = (scales * codes + biases).reshape(rows, columns)
    return found
