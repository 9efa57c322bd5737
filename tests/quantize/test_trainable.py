"""Scales and biases as parameters, against the numbers they stand for and finite differences."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.quantize.affine import Affine, decode
from mlxforge.quantize.search import search
from mlxforge.quantize.trainable import trainable

WIDTHS = (2, 3, 4, 5, 6, 8)


def start(bits: int = 3, dtype: mx.Dtype = mx.bfloat16, size: int = 32, seed: int = 0) -> Affine:
    mx.random.seed(seed)
    return search(mx.random.normal((6, 128)), bits, size, dtype)


def moved(shape: tuple[int, ...], by: float) -> mx.array:
    return by * mx.random.normal(shape)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("bits", WIDTHS)
def test_the_start_is_what_was_there_to_the_bit(bits: int, dtype: mx.Dtype) -> None:
    before = start(bits, dtype)
    weight = trainable(before)
    found = weight.result(*weight.start())
    assert mx.array_equal(found.codes, before.codes)
    assert mx.array_equal(found.scales, before.scales) and found.scales.dtype == dtype
    assert mx.array_equal(found.biases, before.biases) and found.biases.dtype == dtype


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
@pytest.mark.parametrize("bits", WIDTHS)
def test_what_is_computed_with_is_what_will_be_stored(bits: int, dtype: mx.Dtype) -> None:
    weight = trainable(start(bits, dtype))
    slope, middle = (moved(zeros.shape, 0.2) for zeros in weight.start())
    assert mx.array_equal(weight.weight(slope, middle), decode(weight.result(slope, middle), 32))


def test_some_rows_are_those_of_all() -> None:
    weight = trainable(start())
    slope, middle = (moved(zeros.shape, 0.2) for zeros in weight.start())
    some = weight.weight(slope, middle, slice(2, 5))
    assert mx.array_equal(some, weight.weight(slope, middle)[2:5])


def test_gradients_are_those_of_finite_differences() -> None:
    weight = trainable(start(dtype=mx.float32))
    inputs, wanted = mx.random.normal((20, 128)), mx.random.normal((20, 6))
    parameters = [moved(zeros.shape, 0.1) for zeros in weight.start()]

    def loss(slope: mx.array, middle: mx.array) -> mx.array:
        return mx.square(inputs @ weight.weight(slope, middle).T - wanted).mean()

    codes, steps, biases, mean, lever = (
        np.array(part, dtype=np.float64)
        for part in (weight.codes, mx.abs(weight.scales), weight.biases, weight.mean, weight.lever)
    )
    scales = np.array(weight.scales, dtype=np.float64)

    def reference(slope: np.ndarray, middle: np.ndarray) -> float:
        slopes, middles = scales + lever * slope, biases + steps * middle - mean * lever * slope
        values = np.repeat(slopes, 32, axis=1) * codes + np.repeat(middles, 32, axis=1)
        outputs = np.array(inputs, dtype=np.float64) @ values.T
        return float(np.square(outputs - np.array(wanted, dtype=np.float64)).mean())

    found = mx.grad(loss, argnums=(0, 1))(*parameters)
    plain = [np.array(part, dtype=np.float64) for part in parameters]
    for which in (0, 1):
        for place in ((0, 0), (3, 2), (5, 3)):
            ends = []
            for sign in (1, -1):
                changed = [part.copy() for part in plain]
                changed[which][place] += sign * 1e-4
                ends.append(reference(changed[0], changed[1]))
            assert found[which][place].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


def test_a_slope_of_one_moves_a_typical_weight_by_a_step_of_the_grid() -> None:
    weight = trainable(start(4, mx.float32))
    zeros, _ = weight.start()
    change = weight.weight(zeros + 1, zeros) - weight.weight(zeros, zeros)
    grouped = mx.square(change.reshape(6, 4, 32)).mean(axis=-1)
    assert mx.allclose(mx.sqrt(grouped), mx.abs(weight.scales), rtol=1e-3)


def test_groups_of_equal_codes_keep_their_scale() -> None:
    before = start()
    codes = mx.where(mx.arange(128) < 32, 5, before.codes).astype(mx.uint8)
    weight = trainable(Affine(codes, before.scales, before.biases))
    zeros, _ = weight.start()
    found = weight.result(zeros + 3, zeros + 0.5)
    assert mx.array_equal(found.scales[:, 0], before.scales[:, 0])
    assert not mx.array_equal(found.scales[:, 1], before.scales[:, 1])
    assert not mx.array_equal(found.biases[:, 0], before.biases[:, 0])
