"""Weights that make up for changed inputs, against the least squares that they stand for."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.quantize import drift
from mlxforge.quantize.drift import compensated
from mlxforge.quantize.factor import prepare

CHANCE = np.random.default_rng(7)


def moments(x: np.ndarray, meant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.T @ x / len(x), ((meant - x).T @ x / len(x)).astype(np.float32)


def test_all_of_the_change_gives_the_weights_of_least_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift, "SHARE", 1.0)
    meant = CHANCE.normal(size=(300, 24)) @ CHANCE.normal(size=(24, 24))
    x = meant + CHANCE.normal(size=meant.shape) * 0.3 + 0.1 * meant[:, ::-1]
    weight = CHANCE.normal(size=(5, 24)).astype(np.float32)
    hessian, change = moments(x, meant)
    factor = prepare(hessian, damping=1e-9, shrinkage=0.0)
    found = np.array(compensated(mx.array(weight), factor, weight @ change))
    best = np.linalg.lstsq(x, meant @ weight.T, rcond=None)[0].T
    assert np.allclose(found, best, rtol=1e-3, atol=1e-3)


def test_what_the_output_is_added_to_is_made_up_for_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift, "SHARE", 1.0)
    meant = CHANCE.normal(size=(300, 24))
    x = meant + CHANCE.normal(size=meant.shape) * 0.3
    weight = CHANCE.normal(size=(5, 24)).astype(np.float32)
    away = x @ CHANCE.normal(size=(24, 5)) + CHANCE.normal(size=(300, 5))  # r_s - r
    hessian, change = moments(x, meant)
    whole = weight @ change + (away.T @ x / len(x)).astype(np.float32)
    factor = prepare(hessian, damping=1e-9, shrinkage=0.0)
    found = np.array(compensated(mx.array(weight), factor, whole))
    best = np.linalg.lstsq(x, meant @ weight.T + away, rcond=None)[0].T
    assert np.allclose(found, best, rtol=1e-3, atol=1e-3)


def test_half_of_it_is_taken() -> None:
    meant = CHANCE.normal(size=(200, 16))
    x = 0.5 * meant
    hessian, change = moments(x, meant)
    weight = CHANCE.normal(size=(3, 16)).astype(np.float32)
    factor = prepare(hessian, damping=1e-9, shrinkage=0.0)
    found = compensated(mx.array(weight), factor, weight @ change)
    assert np.allclose(found, 1.5 * weight, rtol=1e-4)  # all of it would double the weight


def test_where_nothing_changed_the_weights_stay() -> None:
    x = CHANCE.normal(size=(100, 16))
    hessian, change = moments(x, x)
    weight = CHANCE.normal(size=(3, 16)).astype(np.float32)
    found = compensated(mx.array(weight), prepare(hessian), weight @ change)
    assert np.array_equal(found, weight)
