"""pack gives mx.quantize's bytes, whatever the weights are."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.quantize.microscaling import BLOCK, MODES, pack

BITS = {mx.float16: np.uint16, mx.bfloat16: np.uint16, mx.float32: np.uint32}
SIGN = {mx.float16: 1 << 15, mx.bfloat16: 1 << 15, mx.float32: 1 << 31}
MANTISSA = {mx.float16: 10, mx.bfloat16: 7, mx.float32: 23}

modes = pytest.mark.parametrize("mode", MODES)
dtypes = pytest.mark.parametrize("dtype", BITS, ids=str)
half_dtypes = pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)


def upstream(weight: mx.array, mode: str) -> tuple[mx.array, mx.array]:
    codes, scales, *_ = mx.quantize(weight, MODES[mode].group_size, MODES[mode].bits, mode=mode)
    return codes, scales


def assert_same(weight: mx.array, mode: str) -> None:
    for ours, theirs in zip(pack(weight, mode), upstream(weight, mode), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def from_bits(bits: npt.ArrayLike, dtype: mx.Dtype) -> mx.array:
    return mx.array(np.asarray(bits).astype(BITS[dtype])).view(dtype)


def to_bits(number: float, dtype: mx.Dtype) -> int:
    return int(np.asarray(mx.array([number], dtype).view(mx.uint8)).view(BITS[dtype])[0])


def signed(magnitudes: npt.NDArray[np.int64], dtype: mx.Dtype, seed: int) -> mx.array:
    """Weights of these magnitudes, as bits, with a sign by chance."""
    signs = np.random.default_rng(seed).integers(0, 2, magnitudes.shape)
    return from_bits(magnitudes | signs * SIGN[dtype], dtype)


def below(largest: npt.NDArray[np.int64], dtype: mx.Dtype, octaves: float, seed: int) -> mx.array:
    """A group of 32 for each: that number, as bits, and others down to so many octaves below."""
    chance = np.random.default_rng(seed)
    down = chance.integers(0, int(octaves * 2 ** MANTISSA[dtype]) + 1, (len(largest), 32))
    down[np.arange(len(largest)), chance.integers(0, 32, len(largest))] = 0
    return signed(np.maximum(largest[:, None] - down, 0), dtype, seed)


def beside(
    largest: int, numbers: npt.NDArray[np.int64], dtype: mx.Dtype, group_size: int
) -> mx.array:
    """All the numbers, as bits, in groups of which each also holds that largest one."""
    others = group_size - 1
    pairs = len(numbers) // (2 * others) + 1
    groups = np.resize(numbers, (2 * pairs, others))
    return signed(np.insert(groups, 0, largest, axis=1).reshape(-1, 32), dtype, seed=1)


def test_mxfp4_divides_by_the_power_of_two_that_lets_the_largest_weight_be_6() -> None:
    numbers = [0.0, 0.5, 1, 1.5, 2, 3, 4, 6]
    codes, scales = pack(mx.array([[*numbers, *(-x for x in numbers), *([0.0] * 16)]]), "mxfp4")
    assert [hex(word) for word in codes.tolist()[0]] == ["0x76543210", "0xfedcba90", "0x0", "0x0"]
    assert scales.tolist() == [[127]]  # 2^0
    _, scales = pack(mx.array([[6.01] + [0.0] * 31, [12.0] + [0.0] * 31]), "mxfp4")
    assert scales.tolist() == [[128], [128]]


def test_mxfp8_keeps_the_sign_of_a_zero_and_rounds_ties_to_even() -> None:
    weights = [448.0, -0.0, 1.0625, 1.1875, 2.0**-10, 3 * 2.0**-10, -1.0, 0.0] + [0.0] * 24
    codes, scales = pack(mx.array([weights]), "mxfp8")
    assert codes.view(mx.uint8).tolist()[0][:8] == [0x7E, 0x80, 0x38, 0x3A, 0, 2, 0xB8, 0]
    assert scales.tolist() == [[127]]


def test_nvfp4_has_a_scale_of_three_bits_of_mantissa_for_16_weights() -> None:
    weights = [6 * 1.125] + [0.0] * 15 + [6 * 1.0625] + [0.0] * 15  # 1.0625 is a tie
    codes, scales = pack(mx.array([weights]), "nvfp4")
    assert scales.tolist() == [[0x39, 0x38]]
    assert codes.tolist() == [[7, 0, 7, 0]]


@modes
@dtypes
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_bits(dtype: mx.Dtype, mode: str, data: st.DataObject) -> None:
    width = 8 * BITS[dtype]().itemsize
    rows = data.draw(st.lists(st.binary(min_size=4 * width, max_size=4 * width), min_size=1))
    bits = np.frombuffer(b"".join(rows), BITS[dtype]).reshape(len(rows), 32)
    assert_same(from_bits(bits, dtype), mode)


@modes
@dtypes
@settings(deadline=None, max_examples=25)
@given(
    exponent=st.integers(-140, 125),
    spread=st.sampled_from([0, 0.5, 3, 20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_of_any_scale(
    dtype: mx.Dtype, mode: str, exponent: int, spread: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    weights = chance.standard_normal((64, 64)) * 2.0 ** (
        exponent + spread * chance.standard_normal((64, 1))
    )
    largest = 65504 if dtype == mx.float16 else 3e38
    weights = np.clip(weights, -largest, largest).astype(np.float32)
    assert_same(mx.array(weights).astype(dtype), mode)


@modes
@half_dtypes
def test_every_number_as_the_largest_of_its_group(dtype: mx.Dtype, mode: str) -> None:
    numbers = np.arange(1 << 15)
    assert_same(below(numbers, dtype, 6, seed=0), mode)


@modes
@half_dtypes
@pytest.mark.parametrize("largest", [1.0, 5.9, 6.0, 0.011, 700.0])
def test_every_number_beside_a_larger_one(dtype: mx.Dtype, mode: str, largest: float) -> None:
    limit = to_bits(largest, dtype)
    assert_same(beside(limit, np.arange(limit + 1), dtype, MODES[mode].group_size), mode)


@modes
def test_float32_around_every_power_of_two(mode: str) -> None:
    """Where scales change: multiples of 1, 1.5 (mxfp4, nvfp4) and 1.75 (mxfp8) and their
    neighbours."""
    exponents = np.arange(255)[:, None, None] << 23
    mantissas = np.array([0, 1 << 22, 3 << 21])[:, None]
    numbers = (exponents + mantissas + np.arange(-3, 4)).clip(0).reshape(-1)
    assert_same(below(numbers, mx.float32, 6, seed=2), mode)


@modes
@pytest.mark.parametrize("scale", [1.0, 0.75, 2.0**-9, 2.0**6])
def test_float32_around_every_tie(mode: str, scale: float) -> None:
    if MODES[mode].bits == 4:
        ties = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    else:
        eighths = np.arange(17, 32, 2) / 16  # halfway between two e4m3 mantissas
        ties = np.concatenate(
            [eighths * 2.0**e for e in range(-6, 8)] + [np.arange(1, 17, 2) / 2**10]
        )
    near = (ties * scale).astype(np.float32).view(np.uint32).astype(np.int64)
    near = (near[:, None] + np.arange(-4, 5)).reshape(-1)
    limit = to_bits(MODES[mode].largest * scale, mx.float32)
    assert_same(beside(limit, near, mx.float32, MODES[mode].group_size), mode)


@modes
@dtypes
def test_zeros_subnormals_infinities_and_nans(dtype: mx.Dtype, mode: str) -> None:
    sign, infinity, normal = SIGN[dtype], to_bits(float("inf"), dtype), 1 << MANTISSA[dtype]
    numbers = [0, 1, normal - 1, normal, infinity - 1, infinity, infinity + 1, sign - 1]
    special = np.array(numbers + [number | sign for number in numbers])
    alone = np.zeros((len(special), 32), np.int64)
    alone[:, 7] = special
    beside = np.full((len(special), 32), to_bits(1.0, dtype))
    beside[:, 20] = special
    constant = np.repeat(special[:, None], 32, axis=1)
    assert_same(from_bits(np.concatenate([alone, constant, beside]), dtype), mode)


@modes
def test_more_than_one_block_and_a_last_that_is_not_full(mode: str) -> None:
    weight = mx.random.normal((3, BLOCK // 2 + 32), key=mx.random.key(0)).astype(mx.bfloat16)
    assert_same(weight, mode)


@modes
def test_experts_and_views(mode: str) -> None:
    weight = mx.random.normal((4, 96, 64), key=mx.random.key(1))
    assert_same(weight, mode)
    assert_same(weight[1:3, ::2], mode)
    assert_same(mx.swapaxes(weight, 1, 2).astype(mx.float16), mode)


@modes
def test_two_threads_at_once_give_the_same_bytes(mode: str) -> None:
    weight = mx.random.normal((64, 4096), key=mx.random.key(2)).astype(mx.bfloat16)
    mx.eval(weight)
    alone = [np.asarray(array).tobytes() for array in pack(weight, mode)]

    def work(_: int) -> list[list[bytes]]:
        with mx.stream(mx.new_stream(mx.cpu)):
            return [[np.asarray(a).tobytes() for a in pack(weight, mode)] for _ in range(10)]

    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(work, range(2)):
            assert found == [alone] * 10


@dtypes
@modes
def test_what_it_needs_beside_the_result_is_a_few_blocks(dtype: mx.Dtype, mode: str) -> None:
    weight = mx.zeros((16, BLOCK), dtype)
    mx.eval(weight)
    tracemalloc.start()
    try:
        packed = pack(weight, mode)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - sum(array.nbytes for array in packed) < 20 * BLOCK


@modes
def test_columns_that_groups_do_not_divide_are_refused_as_upstream_refuses_them(mode: str) -> None:
    with pytest.raises(ValueError, match="divisible"):
        pack(mx.zeros((2, 40)), mode)
