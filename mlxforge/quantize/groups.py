"""Groups of weights on one grid after another: the sums that ``search`` needs, on any device.

A group is seen from the middle of its range, in units of a 2^bits - 1 th of the range: its values
lie between -n/2 and n/2 for n = 2^bits - 1, whatever the size of the weights, and a scale of 1 with
a bias of -n/2 is the grid from end to end. Scales and biases here are in that unit, too.

On a CPU a group is a column, so that sums over groups add row to row and a number per group meets a
row of neighbours: numpy's loops stay long and its buffers in the cache. Products and sums are
rounded one by one (no fused multiply-add, no BLAS) in a fixed order: the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from mlxforge.quantize.cpu import Floats, stored, turned

__all__ = ["Array", "Fit", "Groups", "MlxGroups", "NumpyGroups"]

Array = Any
"""float32, a number per group, numpy's or MLX's; or one number for all."""

LEAST = float(np.finfo(np.float32).tiny)
NARROW = 2.0**-20  # of the weights: a range below it is not worth a unit of its own
NOISE = 1e-5  # of the codes' mean square: a variance below it is what rounding left


@dataclass(frozen=True)
class Fit:
    """The best grid for some codes.

    ``gain`` is what it takes off the weighted squares around the group's mean, ``center`` the
    weighted mean of the codes: the bias is ``Groups.mean - scale * center``.
    """

    gain: Array
    scale: Array
    center: Array


class Groups(Protocol):
    """``low`` and ``high`` are the ends of the groups' ranges, ``middle`` and ``unit`` say how the
    groups are seen, ``mean`` is the weighted mean of the values seen so."""

    low: Array
    high: Array
    middle: Array
    unit: Array
    mean: Array

    def fit(self, scale: Array, bias: Array) -> Fit:
        """The best grid for the codes that are nearest on this one."""

    def error(self, scale: Array, bias: Array) -> Array:
        """The sum of weighted square errors on this grid."""

    def nearest(self, scale: Array, bias: Array) -> Array:
        """The codes of every weight, laid out as the implementation likes it."""

    def where(self, condition: Array, yes: Array, no: Array) -> Array: ...

    def rint(self, values: Array) -> Array: ...

    def stored(self, values: Array, dtype: mx.Dtype) -> Array:
        """``values`` rounded to ``dtype``, in float32."""


class NumpyGroups:
    """See Groups. ``weight`` is [groups, size], ``importance`` and codes are [size, groups].

    At least 2 groups: numpy sums a single column in another order.
    """

    def __init__(self, weight: Floats, importance: Floats | None, bits: int) -> None:
        self.largest = float((1 << bits) - 1)
        self.values = turned(weight)
        self.codes, self.products = np.empty_like(self.values), np.empty_like(self.values)
        self.importance = importance
        self.weighted = self.codes if importance is None else np.empty_like(self.values)
        self.low, self.high = self.values.min(axis=0), self.values.max(axis=0)
        self.middle, self.unit = _view(self, np.maximum)
        self.values -= self.middle
        self.values /= self.unit
        if importance is None:
            self.total: Array = float(weight.shape[1])
            self.sum: Floats = self.values.sum(axis=0)
        else:
            self.total = importance.sum(axis=0)
            self.sum = self._sum(self.values, importance)
        self.mean = self.sum / self.total

    def fit(self, scale: Array, bias: Array) -> Fit:
        codes = self.nearest(scale, bias)
        if self.importance is not None:
            np.multiply(codes, self.importance, out=self.weighted)
        first = self.weighted.sum(axis=0)
        second = self._sum(self.weighted, codes)
        return _fit(self, scale, first, second, self._sum(self.weighted, self.values))

    def error(self, scale: Array, bias: Array) -> Array:
        off = self.nearest(scale, bias)
        off *= scale
        off += bias
        off -= self.values
        off *= off
        return off.sum(axis=0) if self.importance is None else self._sum(off, self.importance)

    def nearest(self, scale: Array, bias: Array) -> Floats:
        """Overwritten by the next call of any method."""
        np.multiply(self.values, 1 / scale, out=self.codes)
        self.codes -= bias / scale
        np.rint(self.codes, out=self.codes)
        return np.clip(self.codes, 0, self.largest, out=self.codes)

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        return np.where(condition, yes, no)

    def rint(self, values: Array) -> Array:
        return np.rint(values)

    def stored(self, values: Array, dtype: mx.Dtype) -> Array:
        return stored(values, dtype)

    def _sum(self, one: Floats, other: Floats) -> Floats:
        found: Floats = np.multiply(one, other, out=self.products).sum(axis=0)
        return found


class MlxGroups:
    """See Groups. ``weight``, ``importance`` and codes are [groups, size]; lazy."""

    def __init__(self, weight: mx.array, importance: mx.array | None, bits: int) -> None:
        self.largest = float((1 << bits) - 1)
        self.low, self.high = weight.min(axis=-1), weight.max(axis=-1)
        self.middle, self.unit = _view(self, mx.maximum)
        self.values = (weight - self.middle[:, None]) / self.unit[:, None]
        self.importance = mx.ones_like(weight) if importance is None else importance
        self.total = self.importance.sum(axis=-1)
        self.sum = (self.importance * self.values).sum(axis=-1)
        self.mean = self.sum / self.total

    def fit(self, scale: Array, bias: Array) -> Fit:
        codes = self.nearest(scale, bias)
        weighted = codes * self.importance
        second, product = (weighted * codes).sum(axis=-1), (weighted * self.values).sum(axis=-1)
        return _fit(self, scale, weighted.sum(axis=-1), second, product)

    def error(self, scale: Array, bias: Array) -> Array:
        off = self.nearest(scale, bias) * _column(scale) + _column(bias) - self.values
        return (off * off * self.importance).sum(axis=-1)

    def nearest(self, scale: Array, bias: Array) -> Array:
        codes = self.values * _column(1 / scale) - _column(bias / scale)
        return mx.clip(mx.round(codes), 0, self.largest)

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        return mx.where(condition, yes, no)

    def rint(self, values: Array) -> Array:
        return mx.round(values)

    def stored(self, values: Array, dtype: mx.Dtype) -> Array:
        return values.astype(dtype).astype(mx.float32)


def _column(values: Array) -> Array:
    return values[:, None] if isinstance(values, mx.array) else values


def _view(groups: NumpyGroups | MlxGroups, maximum: Any) -> tuple[Array, Array]:
    """Middle and unit. Halves, because a range may be beyond float32."""
    low, high = groups.low / 2, groups.high / 2
    narrow = maximum(maximum(abs(low), abs(high)) * NARROW, LEAST)
    return low + high, maximum((high - low) / (groups.largest / 2), narrow)


def _fit(
    groups: NumpyGroups | MlxGroups, scale: Array, first: Array, second: Array, product: Array
) -> Fit:
    """From the weighted sums of the codes, of their squares and of their products with the values.

    Where the codes are all but one, ``scale`` stays.
    """
    center = first / groups.total
    variance = second - center * first
    covariance = product - center * groups.sum
    varied = variance > NOISE * second
    scale = groups.where(varied, covariance / groups.where(varied, variance, 1.0), scale)
    return Fit(scale * (2 * covariance - scale * variance), scale, center)
