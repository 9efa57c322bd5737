"""Hessians made ready for GPTQ: damped, and factorised in the order in which columns are visited.

The factor is R of H = R R^T, R upper triangular (see mlxforge.quantize.gptq). Of wide layers these
matrices are most of what a method holds in memory, so they are written where they stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.errors import ForgeError
from mlxforge.quantize.cholesky import cholesky
from mlxforge.quantize.shared import shared
from mlxforge.quantize.triangular import Inverse

__all__ = ["SHRINKAGE", "Factor", "prepare"]

# Measured on text of other kinds than was calibrated on: at 0 the outputs of down projections have
# more error there than with each weight rounded alone, from 0.3 to 0.6 all layers have least.
SHRINKAGE = 0.4
LEAST = float(np.finfo(np.float32).tiny)
MOST_DAMPING = 1e6  # relative to the mean of the diagonal: nothing else is left of H


@dataclass(frozen=True)
class Factor:
    """A Hessian made ready, n = columns.

    hessian: float32 [n, n], in units of its mean diagonal, damped. importance: float32 [n], its
    diagonal. order: int32 [n], the columns as they are visited. feedback: float32 [n, n] in that
    order, R_jk / R_kk above the diagonal and 0 elsewhere. pivots: float32 [n] in that order, R_kk
    squared. damping: what it took, relative to the mean of the diagonal. measure: by what it was
    multiplied outside of its diagonal.
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
    room: mx.array | None = None,
) -> Factor:
    """Factorise ``hessian`` [columns, columns], the sum or mean of x x^T over inputs x.

    ``shrinkage`` is the part of what is off the diagonal that is not believed: correlations of
    the calibration text that another text does not have (Ledoit and Wolf 2004).
    ``damping`` times the mean of the diagonal is added to the diagonal, ten times more as often
    as it takes to make the matrix positive definite. Inputs that were always zero have a zero
    diagonal and cost nothing: only damping speaks for their weights, which are rounded to
    nearest. ``room`` is the array whose memory ``hessian`` is (see mlxforge.quantize.shared), if it
    is of no use to anybody afterwards: the factor's own is written there. Raises ForgeError where
    the matrix is not finite.
    """
    diagonal = np.diagonal(hessian).astype(np.float64)
    mean = float(diagonal.mean())
    if not np.isfinite(hessian.sum(dtype=np.float64)):
        raise ForgeError(
            "the Hessian of the inputs is not finite",
            "activations overflow over the calibration tokens: is the source's dtype float16?",
        )
    if mean < LEAST:  # no input was ever anything but zero, as far as a factor of it can tell
        hessian, diagonal, mean = np.eye(len(diagonal)), np.ones_like(diagonal), 1.0
        room = None
    order = np.argsort(-diagonal, kind="stable") if act_order else np.arange(len(diagonal))
    measure = (1 - shrinkage) / mean
    while True:
        try:
            importance = diagonal / mean + damping
            feedback, pivots = _feedback(hessian, order, measure, importance)
            break
        except np.linalg.LinAlgError:
            damping = max(10 * damping, 1e-6)
            if damping > MOST_DAMPING:
                raise
    damped, written = shared(len(order), len(order)) if room is None else (room, hessian)
    np.multiply(hessian, measure, out=written, dtype=np.float32, casting="same_kind")
    np.fill_diagonal(written, importance)
    return Factor(
        hessian=damped,
        importance=mx.array(importance.astype(np.float32)),
        order=mx.array(order.astype(np.int32)),
        feedback=feedback,
        pivots=mx.array(pivots),
        damping=damping,
        measure=measure,
    )


def _feedback(
    hessian: npt.NDArray[np.floating],
    order: npt.NDArray[np.intp],
    factor: float,
    diagonal: npt.NDArray[np.float64],
) -> tuple[mx.array, npt.NDArray[np.float32]]:
    """``feedback`` and ``pivots`` of a Factor, of ``hessian`` times ``factor`` with this diagonal
    instead of its own; found in the precision of ``hessian``."""
    feedback, written = shared(len(order), len(order))
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
