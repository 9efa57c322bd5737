"""Codes are packed as MLX packs them, and stand for what MLX makes of them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.quantize.affine import Affine, decode, pack

all_bits = pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
group_sizes = pytest.mark.parametrize("group_size", [32, 64, 128])


def codes_of(words: mx.array, bits: int) -> mx.array:
    """Codes out of MLX's words: each as the weight it is under scale 1 and bias 0."""
    groups = (len(words), words.shape[1] * 32 // bits // 32)
    found = mx.dequantize(words, mx.ones(groups), mx.zeros(groups), group_size=32, bits=bits)
    return found.astype(mx.uint8)


def random_codes(bits: int, rows: int, columns: int) -> mx.array:
    found = np.random.default_rng(bits).integers(0, 1 << bits, (rows, columns), np.uint8)
    found[0, :9] = (1 << bits) - 1
    return mx.array(found)


@all_bits
@group_sizes
def test_the_words_are_those_of_mx_quantize(bits: int, group_size: int) -> None:
    weight = mx.random.normal((5, 3 * group_size), key=mx.random.key(bits))
    words, _, _ = mx.quantize(weight, group_size=group_size, bits=bits)
    packed = pack(codes_of(words, bits), bits)
    assert packed.dtype == mx.uint32
    np.testing.assert_array_equal(np.asarray(packed), np.asarray(words))


@all_bits
def test_a_row_is_one_string_of_bits_lowest_first(bits: int) -> None:
    codes = random_codes(bits, 3, 96)
    found = np.asarray(pack(codes, bits).view(mx.uint8))
    strings = np.unpackbits(np.asarray(codes)[..., None], axis=-1, bitorder="little")[..., :bits]
    expected = np.packbits(strings.reshape(3, -1), axis=-1, bitorder="little")
    np.testing.assert_array_equal(found, expected)


@all_bits
def test_rows_that_are_a_view_are_packed_like_any_other(bits: int) -> None:
    codes = random_codes(bits, 6, 128)
    view = codes[1::2, 32:96]
    copied = mx.array(np.ascontiguousarray(np.asarray(codes)[1::2, 32:96]))
    np.testing.assert_array_equal(np.asarray(pack(view, bits)), np.asarray(pack(copied, bits)))


@all_bits
@group_sizes
def test_mlx_reads_the_packed_codes_as_what_decode_says(bits: int, group_size: int) -> None:
    chance = np.random.default_rng(group_size + bits)
    codes = random_codes(bits, 4, 2 * group_size)
    scales, biases = (mx.array(chance.standard_normal((4, 2)), mx.float32) for _ in range(2))
    theirs = mx.dequantize(
        pack(codes, bits), scales, biases, group_size=group_size, bits=bits, mode="affine"
    )
    np.testing.assert_allclose(
        np.asarray(decode(Affine(codes, scales, biases), group_size)),
        np.asarray(theirs),
        rtol=0,
        atol=1e-6 * 2**bits,
    )


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32], ids=str)
def test_decoding_is_in_float32_whatever_the_scales_are(dtype: mx.Dtype) -> None:
    codes = random_codes(4, 2, 64)
    scales = mx.array([[0.1, 3.0], [-0.01, 0.0]], dtype)
    biases = mx.array([[-0.7, 1.0], [0.3, 5.0]], dtype)
    found = decode(Affine(codes, scales, biases), 32)
    assert found.dtype == mx.float32
    scale, bias = (np.repeat(np.asarray(a.astype(mx.float32)), 32, 1) for a in (scales, biases))
    np.testing.assert_array_equal(np.asarray(found), scale * np.asarray(codes) + bias)
