"""Cholesky factors that do not depend on how many threads find them.

LAPACK's own factorisation divides a matrix among its threads, and one of another number of threads
differs in the last bits. Here LAPACK sees blocks too small to be divided, and the rest is matrix
products over the same columns each time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["cholesky"]

PANEL = 128  # columns whose products are taken together
BLOCK = 32

Reals = npt.NDArray[np.floating]


def cholesky(matrix: Reals, overwrite: bool = False) -> Reals:
    """The lower triangular L with L L^T = ``matrix`` (float64 or float32 [n, n], symmetric), to the
    precision of its dtype.

    Only what is not above the diagonal is read. With ``overwrite`` L takes the memory of
    ``matrix``. Raises numpy.linalg.LinAlgError where the matrix is not positive definite.
    """
    size = len(matrix)
    lower = matrix if overwrite else matrix.copy()
    for panel in range(0, size, PANEL):
        beyond = min(panel + PANEL, size)
        for start in range(panel, beyond, BLOCK):
            stop = min(start + BLOCK, beyond)
            corner = np.linalg.cholesky(lower[start:stop, start:stop])
            lower[start:stop, start:stop] = corner
            lower[stop:, start:stop] = lower[stop:, start:stop] @ np.linalg.inv(corner).T
            found = lower[stop:, start:stop]
            lower[stop:, stop:beyond] -= found @ found[: beyond - stop].T
        for start in range(beyond, size, PANEL):  # what is above the diagonal is not needed
            stop = min(start + PANEL, size)
            left = lower[start:, panel:beyond]
            lower[start:, start:stop] -= left @ left[: stop - start].T
    for row in range(size):
        lower[row, row + 1 :] = 0
    return lower
