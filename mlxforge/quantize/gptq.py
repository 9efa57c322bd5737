"""GPTQ: codes chosen column by column, each making up for the errors of those before it.

What a layer's rounding does to its outputs over inputs X is tr (W - W^) H (W - W^)^T with
H = X X^T (Frantar et al. 2023, arXiv 2210.17323). With H = R R^T, R upper triangular in the order
of the columns, that is the squared length of the rows (W - W^) R, whose k-th number depends on the
columns up to k alone: the best value for column k is

    w_k + sum over j < k of (w_j - w^_j) R_jk / R_kk

rounded to the grid. This is GPTQ's own update without the inverse (Chee et al. 2023, arXiv
2307.13304, theorem 6, show that they are the same). Scales and biases are fixed before, per group
of neighbours in the weight as it is stored; so columns may be visited in any order, the largest of
the diagonal first, while groups stay where MLX looks for them.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.columns import UNIT, Columns, codes_on_cpu, codes_on_gpu
from mlxforge.quantize.cpu import on_cpu
from mlxforge.quantize.factor import SHRINKAGE, Factor, prepare
from mlxforge.quantize.refit import refit
from mlxforge.quantize.search import search

__all__ = ["gptq", "quantize", "rows_at_once"]

GPU_ROWS = 4096
CPU_NUMBERS = 1_500_000  # of a weight at a time: many rows to a column, and all near the core


def gptq(
    weight: mx.array,
    hessian: npt.NDArray[np.floating],
    bits: int,
    group_size: int,
    dtype: mx.Dtype,
    *,
    damping: float = 0.01,
    shrinkage: float = SHRINKAGE,
    block_size: int = 128,
    act_order: bool = True,
) -> Affine:
    """``weight`` [rows, columns] with the codes, scales and biases (stored in ``dtype``) that
    keep its products with the inputs behind ``hessian`` [columns, columns]; evaluated."""
    factor = prepare(hessian, damping=damping, shrinkage=shrinkage, act_order=act_order)
    return quantize(weight, factor, bits, group_size, dtype, block_size=block_size)


def quantize(
    rows: mx.array,
    factor: Factor,
    bits: int,
    group_size: int,
    dtype: mx.Dtype,
    *,
    block_size: int = 128,
    sweeps: int = 1,
) -> Affine:
    """Some or all rows of a weight, [rows, columns] in any float dtype; evaluated.

    Rows are independent, and those of a multiple of ``UNIT`` come out as they do alone.
    ``block_size`` columns are taken one by one before the rest hears of their errors in one
    matrix product; the result depends on it by rounding alone. ``sweeps`` of scales and biases
    follow (see mlxforge.quantize.refit).
    """
    parts = []
    step, unit = rows_at_once(rows.shape[1]), UNIT if on_cpu() else GPU_ROWS
    for start in range(0, len(rows), step):
        part = rows[start : start + step].astype(mx.float32)
        fixed = search(part, bits, group_size, dtype, factor.importance)
        missing = -len(part) % unit
        padded = [mx.pad(a, [(0, missing), (0, 0)]) for a in (part, fixed.scales, fixed.biases)]
        grids = Affine(mx.zeros(padded[0].shape, mx.uint8), padded[1], padded[2])
        codes = _codes(padded[0], grids, factor, bits, group_size, block_size)
        for at in range(0, len(part), unit):
            some = slice(at, at + unit)
            found = Affine(codes[some], grids.scales[some], grids.biases[some])
            found = refit(padded[0][some], found, factor.hessian, group_size, sweeps)
            kept = len(part[some])
            parts.append(Affine(found.codes[:kept], found.scales[:kept], found.biases[:kept]))
    found = joined(parts)
    mx.eval(found.codes, found.scales, found.biases)
    return found


def rows_at_once(columns: int) -> int:
    """Of a weight with so many columns: what one thread quantizes in one go."""
    if not on_cpu():
        return GPU_ROWS
    return max(1, CPU_NUMBERS // columns // UNIT) * UNIT


def _codes(
    rows: mx.array, grids: Affine, factor: Factor, bits: int, group_size: int, block_size: int
) -> mx.array:
    """uint8 codes [rows, columns] for the scales and biases of ``grids``; evaluated."""
    columns = Columns(
        weight=mx.contiguous(rows.T[factor.order]),
        scales=mx.contiguous(grids.scales.astype(mx.float32).T),
        biases=mx.contiguous(grids.biases.astype(mx.float32).T),
        groups=np.asarray(factor.order) // group_size,
        feedback=factor.feedback,
        top=2**bits - 1,
    )
    find = codes_on_cpu if on_cpu() else codes_on_gpu
    found = find(columns, block_size)[mx.argsort(factor.order)].T
    return mx.contiguous(found)
