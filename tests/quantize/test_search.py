"""search finds grids of less error than round to nearest's, the same bytes however it is called."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.quantize.affine import Affine, decode
from mlxforge.quantize.groups import MlxGroups
from mlxforge.quantize.search import BLOCK, best_grid, search

Doubles = npt.NDArray[np.float64]

all_bits = pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32], ids=str)


def plain(array: mx.array) -> Doubles:
    return np.asarray(array.astype(mx.float32)).astype(np.float64)


def errors(weight: mx.array, found: Affine, size: int, importance: Doubles | None) -> Doubles:
    """Weighted square errors of groups, in float64."""
    codes = plain(found.codes).reshape(len(weight), -1, size)
    scales, biases = plain(found.scales)[..., None], plain(found.biases)[..., None]
    squares = (plain(weight).reshape(codes.shape) - scales * codes - biases) ** 2
    heights = np.ones(weight.shape[1]) if importance is None else importance
    found_: Doubles = (squares * heights.reshape(codes.shape[1:])).sum(axis=-1)
    return found_


def upstream(weight: mx.array, bits: int, size: int, dtype: mx.Dtype) -> Affine:
    """What mx.quantize stores."""
    words, scales, biases = mx.quantize(weight.astype(mx.float32), size, bits)
    ones = mx.ones_like(scales)
    codes = mx.dequantize(words, ones, mx.zeros_like(ones), size, bits).astype(mx.uint8)
    return Affine(codes, scales.astype(dtype), biases.astype(dtype))


def brute_force(weight: Doubles, heights: Doubles, bits: int) -> Doubles:
    """The least errors of groups [groups, size] over a fine net of grids, each refitted until its
    codes stay; scales are not rounded."""
    largest = (1 << bits) - 1
    low, high = weight.min(axis=1, keepdims=True), weight.max(axis=1, keepdims=True)
    least = np.full(len(weight), np.inf)
    root = np.sqrt(heights)
    for below in np.linspace(-0.05, 0.45, 26):
        for above in np.linspace(-0.05, 0.45, 26):
            bias = low + below * (high - low)
            scale = (high - above * (high - low) - bias) / largest
            for _ in range(3):
                codes = np.clip(np.rint((weight - bias) / scale), 0, largest)
                matrix = np.stack([codes * root, root], axis=-1)
                solved = np.linalg.pinv(matrix) @ (weight * root)[..., None]
                scale, bias = solved[:, 0], solved[:, 1]
            off = root * (weight - scale * codes - bias)
            least = np.minimum(least, (off**2).sum(axis=1))
    return least


def random_weight(rows: int, columns: int, seed: int = 0) -> mx.array:
    """Tails heavier than a normal distribution's, as trained weights have."""
    chance = np.random.default_rng(seed)
    return mx.array(chance.standard_t(6, (rows, columns)) * 0.05, mx.float32)


def random_importance(columns: int, seed: int = 1) -> Doubles:
    return np.exp(np.random.default_rng(seed).standard_normal(columns)).astype(np.float32) + 0.0


def assert_same(one: Affine, other: Affine) -> None:
    for a, b in ((one.codes, other.codes), (one.scales, other.scales), (one.biases, other.biases)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(plain(a), plain(b))


@all_bits
@dtypes
@pytest.mark.parametrize("size", [32, 64, 128])
def test_codes_scales_and_biases_come_as_affine_says(bits: int, dtype: mx.Dtype, size: int) -> None:
    weight = random_weight(3, 256)
    found = search(weight, bits, size, dtype)
    assert (found.codes.dtype, found.codes.shape) == (mx.uint8, weight.shape)
    assert found.codes.max().item() < 1 << bits
    for part in (found.scales, found.biases):
        assert (part.dtype, part.shape) == (dtype, (3, 256 // size))


@all_bits
@pytest.mark.parametrize("weighted", [False, True])
def test_codes_are_the_nearest_on_the_grid_that_is_stored(bits: int, weighted: bool) -> None:
    weight = random_weight(20, 128)
    importance = mx.array(random_importance(128)) if weighted else None
    found = search(weight, bits, 64, mx.bfloat16, importance)
    off = np.abs(plain(weight) - plain(decode(found, 64)))
    codes, scales = plain(found.codes), np.repeat(np.abs(plain(found.scales)), 64, axis=1)
    inside = (codes > 0) & (codes < (1 << bits) - 1)
    assert inside.any()
    assert (off <= scales / 2 * (1 + 1e-4))[inside].all()


@pytest.mark.parametrize(
    ("bits", "weighted", "share"),
    [(2, False, 0.75), (2, True, 0.65), (3, False, 0.8), (3, True, 0.7), (4, False, 0.82),
     (4, True, 0.72), (5, True, 0.72), (6, True, 0.72), (8, True, 0.5)],
)  # fmt: skip
def test_so_much_of_the_error_of_round_to_nearest_is_left(
    bits: int, weighted: bool, share: float
) -> None:
    weight = random_weight(100, 256)
    importance = random_importance(256) if weighted else None
    given_ = mx.array(importance) if weighted else None
    ours = errors(weight, search(weight, bits, 64, mx.bfloat16, given_), 64, importance)
    theirs = errors(weight, upstream(weight, bits, 64, mx.bfloat16), 64, importance)
    assert ours.sum() < share * theirs.sum()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_is_near_what_brute_force_finds(bits: int, weighted: bool) -> None:
    weight = random_weight(40, 64, seed=2)
    heights = random_importance(64, seed=3) if weighted else np.ones(64)
    found = search(weight, bits, 64, mx.float32, mx.array(heights.astype(np.float32)))
    least = brute_force(plain(weight), np.tile(heights, (40, 1)), bits)
    assert errors(weight, found, 64, heights).sum() < (1.07 if weighted else 1.03) * least.sum()


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
kinds = st.sampled_from(["normal", "constant", "zero", "outlier", "two values", "huge", "tiny"])


@st.composite
def groups(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    """A few rows of one group of 32 each."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for kind in draw(st.lists(kinds, min_size=1, max_size=6)):
        row = chance.standard_normal(32)
        size = {"huge": 1e37, "tiny": 1e-39}.get(kind, 10.0 ** draw(st.integers(-20, 20)))
        if kind == "constant":
            row[:] = row[0]
        elif kind == "zero":
            row[:] = 0
        elif kind == "outlier":
            row[7] = 1000
        elif kind == "two values":
            row = np.where(row > 0, 1.0, -0.3)
        rows.append(row * size)
    return np.array(rows).astype(np.float32)


@all_bits
@settings(deadline=None, max_examples=60)
@given(
    rows=groups(),
    heights=st.one_of(
        st.none(),
        st.lists(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 7.0, 1e6]), min_size=32, max_size=32),
    ),
    to=st.sampled_from([mx.bfloat16, mx.float32]),
)
def test_no_group_is_worse_than_round_to_nearest(
    bits: int, rows: npt.NDArray[np.float32], heights: list[float] | None, to: mx.Dtype
) -> None:
    weight = mx.array(rows)
    importance = None if heights is None else np.array(heights, np.float32)
    found = search(weight, bits, 32, to, None if importance is None else mx.array(importance))
    assert np.isfinite(plain(decode(found, 32))).all()
    doubles = None if importance is None else importance.astype(np.float64)
    ours = errors(weight, found, 32, doubles)
    theirs = errors(weight, upstream(weight, bits, 32, to), 32, doubles)
    # what float32 makes of a weight that is next to the grid's own number
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    noise = (largest * 2.0**-21) ** 2 * (32 if heights is None else sum(heights))
    assert (ours[:, 0] <= theirs[:, 0] * (1 + 1e-4) + noise).all()


def test_importance_that_is_not_finite_in_a_group_is_no_importance() -> None:
    weight = mx.random.normal((8, 64), key=mx.random.key(5))
    heights = np.ones(64, np.float32)
    heights[3], heights[40] = np.inf, np.nan
    found = search(weight, 4, 32, mx.bfloat16, mx.array(heights))
    plainly = search(weight, 4, 32, mx.bfloat16)
    assert mx.array_equal(found.codes, plainly.codes)
    assert mx.array_equal(found.biases, plainly.biases)


def test_importance_that_is_all_zero_in_a_group_is_no_importance() -> None:
    weight = random_weight(8, 128)
    half = mx.concatenate([mx.zeros(64), mx.array(random_importance(64).astype(np.float32))])
    found, without = (search(weight, 4, 64, mx.bfloat16, h) for h in (half, None))
    np.testing.assert_array_equal(plain(found.codes)[:, :64], plain(without.codes)[:, :64])
    assert (plain(found.codes)[:, 64:] != plain(without.codes)[:, 64:]).any()


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**20])
def test_importance_has_no_unit(factor: float) -> None:
    weight, importance = random_weight(8, 128), mx.array(random_importance(128).astype(np.float32))
    one, other = (search(weight, 3, 64, mx.bfloat16, h) for h in (importance, importance * factor))
    assert_same(one, other)


@all_bits
@settings(deadline=None, max_examples=10)
@given(
    cuts=st.lists(st.integers(1, 49), max_size=5),
    columns=st.sampled_from([32, 96]),
    weighted=st.booleans(),
)
def test_a_row_has_the_same_bytes_whatever_rows_are_with_it(
    bits: int, cuts: list[int], columns: int, weighted: bool
) -> None:
    weight = random_weight(50, columns)
    importance = mx.array(random_importance(columns).astype(np.float32)) if weighted else None
    whole = search(weight, bits, 32, mx.float32, importance)
    edges = sorted({0, 1, 50, *cuts})
    for start, stop in itertools.pairwise(edges):
        part = search(weight[start:stop], bits, 32, mx.float32, importance)
        rows = slice(start, stop)
        assert_same(part, Affine(whole.codes[rows], whole.scales[rows], whole.biases[rows]))


def test_blocks_end_where_rows_end() -> None:
    weight = random_weight(3, 64 * (BLOCK // 64 // 2 - 1), seed=5)
    importance = mx.array(random_importance(weight.shape[1]).astype(np.float32))
    whole = search(weight, 4, 64, mx.bfloat16, importance)
    last = search(weight[2:], 4, 64, mx.bfloat16, importance)
    assert_same(last, Affine(whole.codes[2:], whole.scales[2:], whole.biases[2:]))


def test_two_threads_at_once_give_the_same_bytes() -> None:
    weight, importance = random_weight(40, 512), mx.array(random_importance(512).astype(np.float32))
    alone = search(weight, 4, 64, mx.bfloat16, importance)

    def work(_: int) -> Affine:
        with mx.stream(mx.new_stream(mx.cpu)):
            return search(weight, 4, 64, mx.bfloat16, importance)

    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(work, range(6)):
            assert_same(found, alone)


@dtypes
def test_a_weight_in_16_bits_is_the_same_as_widened(dtype: mx.Dtype) -> None:
    weight = random_weight(10, 128).astype(dtype)
    assert_same(
        search(weight, 4, 64, mx.bfloat16), search(weight.astype(mx.float32), 4, 64, mx.bfloat16)
    )


@all_bits
@pytest.mark.parametrize("weighted", [False, True])
def test_in_mlx_the_same_grids_are_found_as_in_numpy(bits: int, weighted: bool) -> None:
    weight, heights = random_weight(60, 64), random_importance(64).astype(np.float32)
    heights /= heights.max()
    given_ = mx.array(heights) if weighted else None
    theirs = search(weight, bits, 64, mx.bfloat16, given_)
    importance = mx.tile(given_[None], (60, 1)) if weighted else None
    codes, scales, biases = best_grid(MlxGroups(weight, importance, bits), bits, mx.bfloat16)
    ours = Affine(codes, scales[:, None], biases[:, None])
    doubles = heights.astype(np.float64) if weighted else None
    np.testing.assert_allclose(
        errors(weight, ours, 64, doubles).sum(),
        errors(weight, theirs, 64, doubles).sum(),
        rtol=0.01,
    )
    same = plain(scales) == plain(theirs.scales)[:, 0]
    assert same.mean() > 0.9
