"""The factor is LAPACK's, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from mlxforge.quantize.cholesky import cholesky


def positive(size: int) -> np.ndarray:
    inputs = np.random.default_rng(size).normal(size=(2 * size, size))
    found: np.ndarray = inputs.T @ inputs / size
    return found


@pytest.mark.parametrize("size", [1, 31, 32, 33, 128, 129, 300, 576])
def test_the_factor_is_lapacks(size: int) -> None:
    matrix = positive(size)
    found = cholesky(matrix)
    assert np.array_equal(found, np.tril(found))
    np.testing.assert_allclose(found, np.linalg.cholesky(matrix), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [31, 300])
def test_in_single_precision_as_well(size: int) -> None:
    matrix = positive(size).astype(np.float32)
    found = cholesky(matrix, overwrite=True)
    assert found is matrix
    np.testing.assert_allclose(found, np.linalg.cholesky(positive(size)), rtol=0, atol=1e-5)


def test_the_matrix_is_left_alone() -> None:
    matrix = positive(150)
    before = matrix.copy()
    cholesky(matrix)
    assert np.array_equal(matrix, before)


@pytest.mark.parametrize("at", [0, 40, 140, 299])
def test_a_matrix_that_is_not_positive_definite_is_refused(at: int) -> None:
    matrix = positive(300)
    matrix[at, at] = -1
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(matrix)
