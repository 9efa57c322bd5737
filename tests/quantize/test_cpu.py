"""numpy's stand-ins for what MLX does on a CPU, against MLX."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlxforge.quantize.cpu import stored, turned

dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32], ids=str)


def rounded_by_mlx(values: np.ndarray, dtype: mx.Dtype) -> np.ndarray:
    return np.asarray(mx.array(values).astype(dtype).astype(mx.float32))


@dtypes
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
@settings(max_examples=200)
def test_any_number_is_rounded_as_mlx_rounds_it(dtype: mx.Dtype, words: list[int]) -> None:
    values = np.array(words, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        found = stored(values, dtype)
    np.testing.assert_array_equal(found, rounded_by_mlx(values, dtype))


@dtypes
@pytest.mark.parametrize("place", [7, 10])
def test_halves_are_rounded_to_even(dtype: mx.Dtype, place: int) -> None:
    halves = 1 + (np.arange(64, dtype=np.float32) + 0.5) * np.float32(2.0**-place)
    found = stored(halves, dtype)
    np.testing.assert_array_equal(found, rounded_by_mlx(halves, dtype))
    if dtype == mx.float32:
        np.testing.assert_array_equal(found, halves)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 100), st.integers(1, 9))),
    st.sampled_from([np.uint8, np.float32]),
)
def test_a_matrix_is_turned(matrix: np.ndarray, dtype: type) -> None:
    found = turned(matrix.astype(dtype))
    assert found.dtype == dtype and found.flags.c_contiguous
    np.testing.assert_array_equal(found, matrix.T)
