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

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.errors import ForgeError
from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.cholesky import cholesky
from mlxforge.quantize.columns import UNIT, Columns, codes_on_cpu, codes_on_gpu
from mlxforge.quantize.refit import refit
from mlxforge.quantize.search import search
from mlxforge.quantize.triangular import Inverse

__all__ = ["Factor", "gptq", "prepare", "quantize", "rows_at_once"]

GPU_ROWS = 4096
CPU_NUMBERS = 1_500_000  # of a weight at a time: many rows to a column, and all near the core
# Measured on text of other kinds than was calibrated on: at 0 the outputs of down projections have
# more error there than with each weight rounded alone, from 0.3 to 0.6 all layers have least.
SHRINKAGE = 0.4
MOST_DAMPING = 1e6  # relative to the mean of the diagonal: nothing else is left of H


@dataclass(frozen=True)
class Factor:
    """A Hessian made ready, n = columns.

    hessian: float32 [n, n], damped, mean diagonal 1. importance: float32 [n], its diagonal.
    order: int32 [n], the columns as they are visited. feedback: float32 [n, n] in that order,
    R_jk / R_kk above the diagonal and 0 elsewhere. pivots: float32 [n] in that order, R_kk squared.
    damping: what it took, relative to the mean of the diagonal. measure: by what it was multiplied
    outside of its diagonal.
    """

    hessian: mx.array
    importance: mx.array
    order: mx.array
    feedback: mx.array
    pivots: mx.array
    damping: float
    measure: float

    @cached_property
    def inverse(self) -> Inverse:
        """Of the Hessian, its columns in ``order``."""
        return Inverse(np.asarray(self.feedback), np.asarray(self.pivots))


def prepare(
    hessian: npt.NDArray[np.floating],
    *,
    damping: float = 0.01,
    shrinkage: float = SHRINKAGE,
    act_order: bool = True,
) -> Factor:
    """Factorise ``hessian`` [columns, columns], the sum or mean of x x^T over inputs x.

    ``shrinkage`` is the part of what is off the diagonal that is not believed: correlations of
    the calibration text that another text does not have (Ledoit and Wolf 2004).
    ``damping`` times the mean of the diagonal is added to the diagonal, ten times more as often
    as it takes to make the matrix positive definite. Inputs that were always zero have a zero
    diagonal and cost nothing: only damping speaks for their weights, which are rounded to
    nearest. Raises ForgeError where the matrix is not finite.
    """
    diagonal = np.diagonal(hessian).astype(np.float64)
    mean = float(diagonal.mean())
    if not np.isfinite(hessian.sum(dtype=np.float64)):
        raise ForgeError(
            "the Hessian of the inputs is not finite",
            "activations overflow over the calibration tokens: is the source's dtype float16?",
        )
    if mean <= 0:  # no input was ever anything but zero
        hessian, diagonal, mean = np.eye(len(diagonal)), np.ones_like(diagonal), 1.0
    order = np.argsort(-diagonal, kind="stable") if act_order else np.arange(len(diagonal))
    while True:
        try:
            importance = diagonal / mean + damping
            feedback, pivots = _feedback(hessian, order, (1 - shrinkage) / mean, importance)
            break
        except np.linalg.LinAlgError:
            damping = max(10 * damping, 1e-6)
            if damping > MOST_DAMPING:
                raise
    damped, written = _matrix(len(order))
    scale = (1 - shrinkage) / mean
    np.multiply(hessian, scale, out=written, dtype=np.float32, casting="same_kind")
    np.fill_diagonal(written, importance)
    return Factor(
        hessian=damped,
        importance=mx.array(importance.astype(np.float32)),
        order=mx.array(order.astype(np.int32)),
        feedback=feedback,
        pivots=mx.array(pivots),
        damping=damping,
        measure=(1 - shrinkage) / mean,
    )


def _feedback(
    hessian: npt.NDArray[np.floating],
    order: npt.NDArray[np.intp],
    factor: float,
    diagonal: npt.NDArray[np.float64],
) -> tuple[mx.array, npt.NDArray[np.float32]]:
    """``feedback`` and ``pivots`` of a Factor, of ``hessian`` times ``factor`` with this diagonal
    instead of its own; found in the precision of ``hessian``."""
    feedback, written = _matrix(len(order))
    single = hessian.dtype == np.float32
    matrix: npt.NDArray[np.floating] = written if single else np.empty(hessian.shape)
    # of a matrix turned around, the lower factor is this one's upper factor turned around
    turned = order[::-1]
    for at, row in enumerate(turned):
        matrix[at] = hessian[row, turned]
    matrix *= factor
    np.fill_diagonal(matrix, diagonal[turned])
    cholesky(matrix, overwrite=True)
    _turn_around(matrix)
    pivots = np.diagonal(matrix).copy()
    matrix /= pivots
    np.fill_diagonal(matrix, 0)
    if not single:
        written[:] = matrix
    return feedback, np.square(pivots).astype(np.float32)


def _turn_around(matrix: npt.NDArray[np.floating]) -> None:
    """The first of its numbers last, and so on, in its place."""
    for at in range((len(matrix) + 1) // 2):
        first, last = matrix[at, ::-1].copy(), matrix[-1 - at, ::-1].copy()
        matrix[at], matrix[-1 - at] = last, first


def _matrix(size: int) -> tuple[mx.array, npt.NDArray[np.float32]]:
    """Room for [size, size], and the same memory to be written into: of wide layers a copy is what
    most memory is needed for."""
    room = mx.zeros((size, size), mx.float32, stream=mx.cpu)
    mx.eval(room)
    return room, np.array(room, copy=False)


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
    step, unit = rows_at_once(rows.shape[1]), UNIT if _on_cpu() else GPU_ROWS
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
    if not _on_cpu():
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
    find = codes_on_cpu if _on_cpu() else codes_on_gpu
    found = find(columns, block_size)[mx.argsort(factor.order)].T
    return mx.contiguous(found)


def _on_cpu() -> bool:
    return bool(mx.default_device() == mx.Device(mx.cpu))
