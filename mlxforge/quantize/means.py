"""Codes that leave what a weight makes of the mean input as it was.

The squares of single columns say what their errors do as if no two inputs had anything in common.
What they have in common is for the most part their mean: of what comes into attention it is often
half of all squares. With s the mean squares of the inputs and m their means, the error of a row is

    sum_k d_k e_k^2 + (sum_k m_k e_k)^2,    d = s - m^2,  e = w - w^

so H is a diagonal and one product, and GPTQ's update (arXiv 2210.17323) needs no matrix, but one
number to carry along a row. Columns are taken ``BLOCK`` at a time, those of the largest squares
first. With r, the sum of m_k e_k over the blocks before, the best values of a block B are, where
its columns and all after it can still make up for r,

    w_k + c_k r,    c_k = t m_k / (d_k (1 + t S_B)),    S_B = sum over k in B of m_k^2 / d_k,
    1 / t = 1 + sum over blocks C after B of S_C

and each is rounded to the grid that its group has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.quantize.affine import Affine
from mlxforge.quantize.cpu import Floats, on_cpu, turned

__all__ = ["keep_means"]

BLOCK = 32  # columns: what the last of them leave is not made up for
LEAST = 0.05  # of a column's mean square, that varies at least
FEWEST = 2  # rows: numpy sums a single one in another order


def keep_means(
    weight: mx.array, affine: Affine, squares: mx.array, means: mx.array, bits: int
) -> Affine:
    """``affine`` with codes for the same scales and biases by which rows of ``weight`` [rows,
    columns] keep their products with the inputs' mean; evaluated.

    ``squares``, ``means``: float32 [columns], of the inputs. A row's bytes do not depend on the
    other rows. One whose product is beyond float32 keeps its codes.
    """
    line = _Line.of(np.asarray(squares), np.asarray(means))
    find = _with_numpy if on_cpu() else _with_mlx
    sides = tuple(each.astype(mx.float32) for each in (weight, affine.scales, affine.biases))
    codes, carried = find(sides, line, 2**bits - 1)
    finite = mx.isfinite(carried)
    if not finite.all().item():
        codes = mx.where(finite[:, None], codes, affine.codes)
    mx.eval(codes)
    return Affine(codes, affine.scales, affine.biases)


Sides = tuple[mx.array, ...]
"""Weight [rows, columns], scales and biases [rows, groups]; float32."""


@dataclass(frozen=True)
class _Line:
    """``order``: the blocks as they come. ``means``, ``pulls``: m and c of all columns, float32
    [blocks, BLOCK, 1]."""

    order: npt.NDArray[np.intp]
    means: Floats
    pulls: Floats

    @classmethod
    def of(cls, squares: Floats, means: Floats) -> _Line:
        s, m = (each.astype(np.float64).reshape(-1, BLOCK) for each in (squares, means))
        d = np.maximum(s - m * m, LEAST * s)
        d[d <= 0] = 1  # of inputs that were always 0
        order = np.argsort(-s.sum(axis=1), kind="stable")
        shares = (m * m / d).sum(axis=1)
        after = np.empty(len(shares))
        after[order] = np.cumsum(shares[order][::-1])[::-1] - shares[order]
        t = 1 / (1 + after)
        pulls = m / d * (t / (1 + t * shares))[:, None]
        return cls(order, *(each.astype(np.float32)[..., None] for each in (m, pulls)))

    def blocks(self, group_size: int) -> Iterator[tuple[int, slice, int]]:
        """The number of each, where its columns are, and of which group they are."""
        for block in self.order.tolist():
            start = block * BLOCK
            yield block, slice(start, start + BLOCK), start // group_size


def _with_numpy(sides: Sides, line: _Line, top: int) -> tuple[mx.array, mx.array]:
    """uint8 codes [rows, columns], and what is carried in the end, float32 [rows]."""
    count = len(sides[0])
    if count < FEWEST:
        sides = tuple(mx.repeat(each, FEWEST, axis=0) for each in sides)
    weight, scales, biases = (turned(np.asarray(each)) for each in sides)
    with np.errstate(all="ignore"):  # of rows that are beyond float32
        codes, carried = _codes(weight, scales, biases, line, top)
    return mx.array(turned(codes)[:count]), mx.array(carried[:count])


def _codes(
    weight: Floats, scales: Floats, biases: Floats, line: _Line, top: int
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """All on their side, [columns, rows], so that numpy's loops are long."""
    inverse = 1 / np.where(scales == 0, np.float32(1), scales)
    codes = np.empty(weight.shape, np.uint8)
    carried = np.zeros(weight.shape[1], np.float32)
    for block, columns, group in line.blocks(len(weight) // len(scales)):
        own = weight[columns]
        value = line.pulls[block] * carried
        value += own
        value -= biases[group]
        value *= inverse[group]
        np.rint(value, out=value)
        np.clip(value, 0, top, out=value)
        codes[columns] = value
        value *= scales[group]
        value += biases[group]
        np.subtract(own, value, out=value)
        value *= line.means[block]
        carried += value.sum(axis=0)
    return codes, carried


def _with_mlx(sides: Sides, line: _Line, top: int) -> tuple[mx.array, mx.array]:
    """The same steps."""
    weight, scales, biases = (each.T for each in sides)
    inverse = 1 / mx.where(scales == 0, 1, scales)
    carried = mx.zeros(weight.shape[1])
    found: dict[int, mx.array] = {}
    for block, columns, group in line.blocks(len(weight) // len(scales)):
        own, bias = weight[columns], biases[group]
        value = (mx.array(line.pulls[block]) * carried + own - bias) * inverse[group]
        code = mx.clip(mx.round(value), 0, top)
        off = own - (code * scales[group] + bias)
        carried = carried + (off * mx.array(line.means[block])).sum(axis=0)
        found[block] = code.astype(mx.uint8)
        mx.eval(carried, found[block])
    return mx.concatenate([found[block] for block in sorted(found)]).T, carried
