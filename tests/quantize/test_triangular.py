"""Rows divided by a matrix are what LAPACK makes of them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.quantize.factor import prepare
from mlxforge.quantize.triangular import Inverse


@pytest.mark.parametrize("size", [1, 5, 127, 128, 129, 400])
def test_rows_are_divided_by_the_product_of_the_factors(size: int) -> None:
    chance = np.random.default_rng(size)
    upper = np.triu(chance.normal(size=(size, size)) / np.sqrt(size), 1).astype(np.float32)
    pivots = chance.uniform(0.5, 2, size=size).astype(np.float32)
    rows = chance.normal(size=(7, size)).astype(np.float32)
    whole = np.eye(size) + upper.astype(np.float64)
    wanted = np.linalg.solve(whole @ np.diag(pivots) @ whole.T, rows.T.astype(np.float64)).T
    Inverse(upper, pivots).divide(rows)
    np.testing.assert_allclose(rows, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("act_order", [True, False])
def test_a_factor_divides_by_its_hessian(act_order: bool) -> None:
    chance = np.random.default_rng(3)
    inputs = chance.normal(size=(900, 300)) * np.exp(chance.normal(size=300))
    factor = prepare(inputs.T @ inputs, damping=0.01, act_order=act_order)
    order = np.asarray(factor.order)
    rows = chance.normal(size=(4, 300)).astype(np.float32)
    found = rows[:, order]
    factor.inverse.divide(found)
    hessian = np.array(factor.hessian, np.float64)
    back = np.empty_like(rows)
    back[:, order] = found
    np.testing.assert_allclose(back @ hessian, rows, rtol=0, atol=1e-3)
    assert mx.all(factor.pivots > 0)
