"""Scales of columns: what they are, what they cost, and what dividing a rounded layer leaves."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.quantize.affine import decode, pack
from mlxforge.quantize.awq import Rounding, channel_scales, divided, exponents, scaled_error
from mlxforge.quantize.means import keep_means

random = np.random.default_rng(4)
WEIGHT = mx.array(random.normal(size=(48, 128)).astype(np.float32))
SQUARES = np.exp(random.normal(size=128) * 2)
SEARCHED = Rounding(4, 64, mx.bfloat16, clip=True)


ONES = np.ones(128)


def test_codes_keep_products_with_the_mean_where_it_is_known() -> None:
    squares = mx.array(SQUARES.astype(np.float32))
    means = mx.sqrt(squares) * mx.array(random.uniform(-0.9, 0.9, size=128).astype(np.float32))
    before, after = SEARCHED.round(WEIGHT, squares), SEARCHED.round(WEIGHT, squares, means)
    assert mx.array_equal(before.scales, after.scales)
    assert mx.array_equal(after.codes, keep_means(WEIGHT, before, squares, means, 4).codes)
    off = [mx.abs((WEIGHT - decode(each, 64)) @ means).mean().item() for each in (before, after)]
    assert off[1] < 0.5 * off[0]
    assert mx.array_equal(
        SEARCHED.round(WEIGHT, None, means).codes, SEARCHED.round(WEIGHT, None).codes
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 200), st.floats(0, 0.95), st.floats(0, 0.95), st.integers(0, 99))
def test_scales_are_powers_of_inputs_and_weights_with_ends_that_cancel(
    channels: int, inputs: float, weights: float, seed: int
) -> None:
    squares, heights = np.exp(np.random.default_rng(seed).normal(size=(2, channels)))
    found = channel_scales(squares, heights, (inputs, weights)).astype(np.float64)
    assert np.isclose(found.max() * found.min(), 1, rtol=1e-5)
    expected = squares ** (inputs / 2) / heights ** (weights / 2)
    assert np.allclose(found / found[0], expected / expected[0], rtol=1e-4)


def test_channels_without_inputs_or_weights_are_not_scaled_without_end() -> None:
    few, ones, none = np.array([1.0, 4, 0, 1]), np.ones(4), np.zeros(4)
    for found in (channel_scales(few, ones, (0.5, 0)), channel_scales(ones, few, (0, 0.5))):
        assert np.isfinite(found).all() and found.max() / found.min() < 100
    assert np.array_equal(channel_scales(none, none, (0.5, 0.5)), ones)


def test_the_grid_begins_with_what_changes_nothing() -> None:
    assert exponents(4) == [0, 0.25, 0.5, 0.75]
    assert np.array_equal(channel_scales(SQUARES, SQUARES, (0, 0)), ONES)


def test_columns_of_large_weights_are_made_smaller_where_they_stretch_their_groups() -> None:
    factors = np.exp(random.normal(size=128) / 2)
    weight = WEIGHT * mx.array(factors.astype(np.float32))
    plain = scaled_error(weight, ONES, ONES, SEARCHED)
    heights = np.square(np.array(weight)).mean(axis=0)
    scales = channel_scales(ONES, heights, (0, 0.5))
    assert scaled_error(weight, ONES, scales, SEARCHED) < 0.9 * plain


@pytest.mark.parametrize("clip", [True, False])
def test_the_error_is_that_of_the_outputs_over_independent_inputs(clip: bool) -> None:
    rounding = Rounding(4, 64, mx.bfloat16, clip)
    scales = channel_scales(SQUARES, ONES, (0.4, 0))
    rounded = rounding.round(WEIGHT * mx.array(scales), mx.array(SQUARES / scales**2))
    stored = np.array(decode(rounded, 64), np.float64) / scales
    expected = (SQUARES * (stored - np.array(WEIGHT)) ** 2).sum()
    assert np.isclose(scaled_error(WEIGHT, SQUARES, scales, rounding), expected, rtol=1e-4)


def test_scales_lower_the_error_where_few_columns_meet_large_inputs() -> None:
    squares = np.ones(128)
    squares[[3, 70]] = 400
    rounding = Rounding(4, 64, mx.bfloat16, clip=False)
    errors = [
        scaled_error(WEIGHT, squares, channel_scales(squares, ONES, (exponent, 0)), rounding)
        for exponent in exponents(10)
    ]
    assert min(errors) < 0.3 * errors[0]
    searched = scaled_error(WEIGHT, squares, np.ones(128, np.float32), SEARCHED)
    assert searched < 0.5 * min(errors)  # which sees for itself what matters


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_without_clipping_codes_are_those_of_mlx(bits: int) -> None:
    found = Rounding(bits, 64, mx.float32, clip=False).round(WEIGHT, None)
    words, scales, biases = mx.quantize(WEIGHT, group_size=64, bits=bits)
    assert mx.array_equal(pack(found.codes, bits), words)
    assert mx.array_equal(found.scales, scales) and mx.array_equal(found.biases, biases)


def test_dividing_rows_keeps_their_codes_and_their_means() -> None:
    by = np.exp2(random.uniform(-1, 1, 48)).astype(np.float32)
    before = SEARCHED.round(WEIGHT, None)
    after = divided(before, by)
    assert mx.array_equal(before.codes, after.codes)
    assert after.scales.dtype == after.biases.dtype == mx.bfloat16
    wanted = np.array(decode(before, 64)) / by[:, None]
    off = np.array(decode(after, 64)) - wanted
    assert np.abs(off).max() < 0.01 * np.abs(wanted).max()
    middle = np.abs(off.reshape(48, 2, 64).mean(axis=-1))
    biases = np.abs(np.array(after.biases.astype(mx.float32)))
    assert (middle <= biases / 256 + 1e-6).all()  # what rounding a bias to bfloat16 costs
