"""Scales and biases of least error: every group of weights on the grid that serves it best.

Round to nearest spans a group's grid from its least to its greatest weight. Here both ends move,
and what becomes least is the group's weighted square error

    sum_i h_i (w_i - scale * code_i - bias)^2,    code_i the nearest of 0 .. 2^bits - 1

where h_i, the importance of a column, is the mean square of the inputs that meet it: the diagonal
of the Hessian of the layer's output error (GPTQ, arXiv 2210.17323, section 3). The error has many
local minima, but for given codes it is a parabola in scale and bias, so that the best of both, and
the error, follow from three sums. A grid that is tried counts as the best one for its codes:

    1. grids whose ends are fixed parts of the range (``Effort.starts``);
    2. from the best one, grids with one end moved a little after the other (``Effort.moves``);
    3. its scale rounded as it is stored, beside it the best bias, rounded too, and codes nearest on
       these; the same for the scale and bias of ``mx.quantize``: the better one is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxforge.quantize.affine import Affine
from mlxforge.quantize.cpu import Floats, on_cpu
from mlxforge.quantize.groups import Array, Fit, Groups, MlxGroups, NumpyGroups

__all__ = ["search"]

BLOCK = 200_000  # weights at a time: near the core, and threads seldom wait for the interpreter
FEWEST = 2  # groups that NumpyGroups takes


@dataclass(frozen=True)
class Effort:
    """The grids that are tried.

    ``starts``: (lower end, upper end) in half a range from its middle. ``move``: of one end, as a
    part of the grid. ``roundings``: scales beside the nearest that are tried, in units of the last
    place; what rounding to 16 bits costs shows from 5 bits on.
    """

    starts: tuple[tuple[float, float], ...]
    move: float
    roundings: tuple[int, ...] = (0,)

    def moves(self) -> tuple[tuple[float, float], ...]:
        return (self.move, 0), (0, self.move), (-self.move, 0), (0, -self.move)


EFFORTS = {
    2: Effort(
        (
            (0.65, 0.65),
            (0.5, 0.8),
            (0.75, 0.45),
            (0.75, 0.6),
            (0.85, 0.3),
            (0.35, 0.8),
            (0.55, 0.7),
        ),
        move=0.03,
    ),
    3: Effort(((0.88, 0.88), (0.75, 0.92), (0.92, 0.75), (0.7, 0.8)), move=0.02),
    4: Effort(((0.97, 0.97), (0.9, 1), (1, 0.9), (0.87, 0.87)), move=0.01),
    5: Effort(((1, 1), (0.96, 0.99), (0.99, 0.96)), move=0.0075, roundings=(0, 1, -1)),
    6: Effort(((1, 1), (0.99, 0.97), (0.97, 0.99)), move=0.004, roundings=(0, 1, -1)),
    8: Effort(((1, 1),), move=0.002, roundings=(0, 1, -1, 2)),
}
"""Per width; measured on weights and inputs of a trained model, where twice as many grids take off
another hundredth of the error."""


def search(
    weight: mx.array,
    bits: int,
    group_size: int,
    dtype: mx.Dtype,
    importance: mx.array | None = None,
) -> Affine:
    """``weight`` [rows, columns] (float16, bfloat16 or float32) in ``bits`` 2, 3, 4, 5, 6 or 8.

    ``dtype`` is that of scales and biases. ``importance`` is float32 [columns], not negative, in
    any unit; where all of a group's is 0, or some not finite, it counts as 1. The error of a
    group is never above that of ``mx.quantize``, up to float32's rounding. A row's bytes do not
    depend on the other rows. Evaluated.
    """
    rows, columns = weight.shape
    per_row = columns // group_size
    heights = None if importance is None else _heights(importance, per_row)
    grouped = weight.astype(mx.float32).reshape(-1, group_size)
    solve = _with_numpy if on_cpu() else _with_mlx
    codes, scales, biases = solve(grouped, bits, dtype, heights)
    found = Affine(
        codes.reshape(rows, columns),
        scales.reshape(rows, per_row).astype(dtype),
        biases.reshape(rows, per_row).astype(dtype),
    )
    mx.eval(found.codes, found.scales, found.biases)
    return found


Parts = tuple[mx.array, mx.array, mx.array]
"""Codes, uint8 [groups, size]; scales and biases, float32 [groups]."""


def _with_mlx(weight: mx.array, bits: int, dtype: mx.Dtype, heights: Floats | None) -> Parts:
    importance = None
    if heights is not None:
        importance = mx.tile(mx.array(heights), (len(weight) // len(heights), 1))
    codes, scales, biases = best_grid(MlxGroups(weight, importance, bits), bits, dtype)
    return codes.astype(mx.uint8), scales, biases


def _with_numpy(weight: mx.array, bits: int, dtype: mx.Dtype, heights: Floats | None) -> Parts:
    source = np.asarray(weight)
    codes = np.empty(source.shape, np.uint8)
    scales, biases = np.empty((2, len(source)), np.float32)
    per_row = 1 if heights is None else len(heights)
    step = max(1, BLOCK // source.shape[1] // per_row) * per_row
    importance = None
    if heights is not None:
        columns = np.arange(max(min(step, len(source)), FEWEST)) % per_row
        importance = np.ascontiguousarray(heights[columns].T)
    for start in range(0, len(source), step):
        part = slice(start, min(start + step, len(source)))
        count = part.stop - start
        block = source[part]
        if count < FEWEST:
            block = np.resize(block, (FEWEST, block.shape[1]))
        if importance is not None:
            importance = importance[:, : len(block)]
        with np.errstate(all="ignore"):  # of grids that are not kept
            found = best_grid(NumpyGroups(block, importance, bits), bits, dtype)
            codes[part] = found[0].astype(np.uint8).T[:count]
        scales[part], biases[part] = found[1][:count], found[2][:count]
    return mx.array(codes), mx.array(scales), mx.array(biases)


def best_grid(groups: Groups, bits: int, dtype: mx.Dtype) -> tuple[Array, Array, Array]:
    """Codes as ``groups`` lay them out, and scales and biases rounded to ``dtype``, in float32."""
    effort, largest = EFFORTS[bits], (1 << bits) - 1
    fit = _explore(groups, effort, largest)
    scale, bias = _minmax(groups, largest, dtype)
    error = groups.error(*_seen(groups, scale, bias))
    for rounding in effort.roundings:
        new = _rounded(groups, fit, dtype, rounding)
        new_error = groups.error(*_seen(groups, *new))
        # NaN where the range, or a scale, is beyond its dtype
        less = (new_error < error) | (error != error)
        error = groups.where(less, new_error, error)
        scale, bias = groups.where(less, new[0], scale), groups.where(less, new[1], bias)
    return groups.nearest(*_seen(groups, scale, bias)), scale, bias


def _explore(groups: Groups, effort: Effort, largest: int) -> Fit:
    best: Fit | None = None
    for low, high in effort.starts:
        fit = groups.fit((low + high) / 2, -low * largest / 2)
        best = _better(groups, fit, best) if best else fit
    assert best is not None
    for low, high in effort.moves():
        bottom = groups.mean - best.scale * (best.center - low * largest)
        best = _better(groups, groups.fit(best.scale * (1 + high - low), bottom), best)
    return best


def _better(groups: Groups, one: Fit, other: Fit) -> Fit:
    more = one.gain > other.gain
    pairs = (one.gain, other.gain), (one.scale, other.scale), (one.center, other.center)
    return Fit(*(groups.where(more, *pair) for pair in pairs))


def _rounded(groups: Groups, fit: Fit, dtype: mx.Dtype, places: int) -> tuple[Array, Array]:
    """The scale as it is stored, moved by so many last places, and the best bias beside it."""
    scale = groups.stored(fit.scale * groups.unit, dtype)
    if places:
        # three quarters of the spacing at 1 are between 0.75 and 1.5 spacings anywhere
        scale = groups.stored(scale * (1 + 0.75 * places * mx.finfo(dtype).eps), dtype)
    mean = groups.middle + groups.unit * groups.mean
    return scale, groups.stored(mean - scale * fit.center, dtype)


def _minmax(groups: Groups, largest: int, dtype: mx.Dtype) -> tuple[Array, Array]:
    """Scale and bias of ``mx.quantize``: the end farther from 0 is on the grid, and so is 0."""
    width = (groups.high - groups.low) / largest
    width = groups.where(width > 1e-7, width, 1e-7)
    below = abs(groups.low) > abs(groups.high)
    scale = groups.where(below, width, -width)
    edge = groups.where(below, groups.low, groups.high)
    steps = groups.rint(edge / scale)
    some = steps != 0
    scale = groups.where(some, edge / groups.where(some, steps, 1.0), scale)
    return groups.stored(scale, dtype), groups.stored(groups.where(some, edge, 0.0), dtype)


def _seen(groups: Groups, scale: Array, bias: Array) -> tuple[Array, Array]:
    return scale / groups.unit, (bias - groups.middle) / groups.unit


def _heights(importance: mx.array, per_row: int) -> Floats:
    """Importance [groups of a row, size], its greatest in each 1."""
    heights: Floats = np.asarray(importance.astype(mx.float32)).reshape(per_row, -1)
    greatest = heights.max(axis=1, keepdims=True)
    one, some = np.float32(1), (greatest > 0) & np.isfinite(greatest)
    return np.where(some, heights / np.where(some, greatest, one), one)
