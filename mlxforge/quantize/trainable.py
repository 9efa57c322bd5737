"""A quantized weight as a differentiable function of its scales and biases; its codes are fixed.

A group's weights are scale * code + bias. Trained are two numbers per group instead,

    slope:   how far a weight moves whose code is one standard deviation from their mean
    middle:  how far all of them move

both in units of the group's own quantization step. So the two hardly disturb each other, and one
learning rate means the same for every layer and every width. What is computed with are always
values as they are stored: the scale is rounded to its dtype, the bias beside it makes up for that,
and is rounded too; gradients pass through the rounding as if it were not there (straight through,
Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from mlxforge.quantize.affine import Affine

__all__ = ["Trainable", "trainable"]


@dataclass(frozen=True)
class Trainable:
    """What stays as it is: ``codes`` uint8 [rows, columns]; the ``scales`` and ``biases`` at the
    start, as they are stored [rows, groups]; ``mean`` of each group's codes, and ``lever``, the
    change of its scale for a slope of 1, float32 [rows, groups]."""

    codes: mx.array
    scales: mx.array
    biases: mx.array
    mean: mx.array
    lever: mx.array

    def start(self) -> tuple[mx.array, mx.array]:
        """Slope and middle of the start: zeros, float32 [rows, groups]."""
        return mx.zeros(self.mean.shape), mx.zeros(self.mean.shape)

    def stored(
        self, slope: mx.array, middle: mx.array, rows: slice = slice(None)
    ) -> tuple[mx.array, mx.array]:
        """Scales and biases float32 [rows, groups] that their dtype holds; differentiable.

        At the start they are the start's own, to the bit.
        """
        dtype = self.scales.dtype
        old = self.scales[rows].astype(mx.float32)
        moved = self.lever[rows] * slope[rows]
        scales = _through(old + moved, dtype)
        turned = moved + mx.stop_gradient(scales - (old + moved))
        biases = self.biases[rows].astype(mx.float32) + mx.abs(old) * middle[rows]
        return scales, _through(biases - self.mean[rows] * turned, dtype)

    def weight(self, slope: mx.array, middle: mx.array, rows: slice = slice(None)) -> mx.array:
        """Float32 [rows, columns]; differentiable."""
        scales, biases = self.stored(slope, middle, rows)
        codes = self.codes[rows]
        grouped = codes.reshape(*scales.shape, -1).astype(mx.float32)
        found: mx.array = (scales[..., None] * grouped + biases[..., None]).reshape(codes.shape)
        return found

    def result(self, slope: mx.array, middle: mx.array) -> Affine:
        """The weight as it is stored; evaluated."""
        dtype = self.scales.dtype
        scales, biases = (part.astype(dtype) for part in self.stored(slope, middle))
        mx.eval(scales, biases)
        return Affine(self.codes, scales, biases)


def trainable(start: Affine) -> Trainable:
    """Groups of equal codes, where no slope is to be seen, keep their scale."""
    rows, columns = start.codes.shape
    groups = start.scales.shape[-1]
    codes = start.codes.reshape(rows, groups, columns // groups).astype(mx.float32)
    mean = codes.mean(axis=-1)
    spread = mx.sqrt(mx.square(codes - mean[..., None]).mean(axis=-1))
    steps = mx.abs(start.scales.astype(mx.float32))
    lever = mx.where(spread > 0, steps / mx.maximum(spread, 1e-3), 0)
    mx.eval(mean, lever)
    return Trainable(start.codes, start.scales, start.biases, mean, lever)


def _through(values: mx.array, dtype: mx.Dtype) -> mx.array:
    rounded = values.astype(dtype).astype(mx.float32)
    return values + mx.stop_gradient(rounded - values)
