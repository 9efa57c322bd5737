"""Sigmoids by numpy are those of MLX."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.scoring.sigmoid import PIECE, quick_sigmoid

VALUES = mx.array(
    np.concatenate([np.linspace(-200, 200, PIECE + 7), [np.inf, -np.inf, 0.0]]).astype(np.float32)
)


def test_they_are_as_near_to_the_truth_as_those_of_mlx() -> None:
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-np.array(VALUES, dtype=np.float64)))
    with quick_sigmoid():
        found = np.array(mx.sigmoid(VALUES.reshape(-1, 1)))
    assert found.shape == (VALUES.size, 1)
    assert np.allclose(found[:, 0], expected, rtol=3e-7, atol=1e-38)
    assert np.allclose(np.array(mx.sigmoid(VALUES)), expected, rtol=5e-6, atol=1e-38)


def test_nan_stays_and_what_was_given_does_too() -> None:
    given = mx.array([1.0, float("nan")])
    with quick_sigmoid():
        assert np.isnan(np.array(mx.sigmoid(given))[1])
    assert given[0].item() == 1.0


def test_other_dtypes_and_compiled_functions_are_left_alone() -> None:
    half = VALUES.astype(mx.bfloat16)
    expected = [mx.sigmoid(half), nn.silu(VALUES[1:9])]
    with quick_sigmoid():
        found = [mx.sigmoid(half), nn.silu(VALUES[1:9])]
    assert all(mx.array_equal(a, b) for a, b in zip(found, expected, strict=True))
