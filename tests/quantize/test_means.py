"""Codes that keep a weight's products with the inputs' mean."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.quantize.affine import Affine, decode
from mlxforge.quantize.means import BLOCK, _Line, _with_mlx, _with_numpy, keep_means
from mlxforge.quantize.search import search

CHANCE = np.random.default_rng(3)
ROWS, COLUMNS, SIZE = 96, 256, 64
WEIGHT = mx.array(CHANCE.normal(size=(ROWS, COLUMNS)).astype(np.float32))
MEANS = CHANCE.normal(size=COLUMNS).astype(np.float32)
SQUARES = (np.square(MEANS) * CHANCE.uniform(1.2, 6, COLUMNS)).astype(np.float32)
BITS = (2, 3, 4, 5, 6, 8)


def searched(bits: int, weight: mx.array = WEIGHT) -> Affine:
    return search(weight, bits, SIZE, mx.bfloat16, mx.array(SQUARES))


def kept(bits: int, weight: mx.array = WEIGHT, means: np.ndarray = MEANS) -> Affine:
    given = searched(bits, weight)
    return keep_means(weight, given, mx.array(SQUARES), mx.array(means), bits)


def off(found: Affine, weight: mx.array = WEIGHT) -> np.ndarray:
    """The errors of all weights, float64."""
    return np.array(weight, np.float64) - np.array(decode(found, SIZE), np.float64)


def reference(grids: Affine, bits: int) -> np.ndarray:
    """Block after block: with the errors before it, what this and all later columns would best be
    by the whole Hessian, solved for at once in float64; rounded to the grid."""
    hessian = np.diag(SQUARES - np.square(MEANS, dtype=np.float64))
    hessian += np.outer(MEANS, MEANS).astype(np.float64)
    weight = np.array(WEIGHT, np.float64)
    scales, biases = (np.array(a.astype(mx.float32)) for a in (grids.scales, grids.biases))
    errors, codes = np.zeros(weight.shape), np.empty(weight.shape, np.uint8)
    left = list(np.argsort(-SQUARES.reshape(-1, BLOCK).sum(axis=1), kind="stable"))
    while left:
        free = np.concatenate([np.arange(b * BLOCK, (b + 1) * BLOCK) for b in left])
        fixed = np.setdiff1d(np.arange(COLUMNS), free)
        pull = errors[:, fixed] @ hessian[np.ix_(fixed, free)]
        wanted = weight.copy()
        wanted[:, free] += np.linalg.solve(hessian[np.ix_(free, free)], pull.T).T
        start = left.pop(0) * BLOCK
        own, group = slice(start, start + BLOCK), start // SIZE
        s, b = scales[:, group, None], biases[:, group, None]
        codes[:, own] = np.clip(np.rint((wanted[:, own] - b) / s), 0, 2**bits - 1)
        errors[:, own] = weight[:, own] - (s * codes[:, own] + b)
    return codes


@pytest.mark.parametrize("bits", BITS)
def test_blocks_are_rounded_where_the_whole_hessian_wants_them(bits: int) -> None:
    assert np.mean(np.array(kept(bits).codes) == reference(searched(bits), bits)) > 0.999


@pytest.mark.parametrize("bits", BITS)
def test_products_with_the_mean_are_kept_and_the_whole_error_falls(bits: int) -> None:
    before, after = off(searched(bits)), off(kept(bits))
    assert np.abs(after @ MEANS).mean() < 0.5 * np.abs(before @ MEANS).mean()
    rest = SQUARES - np.square(MEANS)
    whole = [(e * e * rest).sum() + np.square(e @ MEANS).sum() for e in (before, after)]
    assert whole[1] < 0.9 * whole[0]


def test_scales_and_biases_stay() -> None:
    given, found = searched(4), kept(4)
    assert mx.array_equal(found.scales, given.scales) and mx.array_equal(found.biases, given.biases)


def test_without_a_mean_every_code_is_the_nearest() -> None:
    found = kept(4, means=np.zeros(COLUMNS, np.float32))
    assert mx.array_equal(found.codes, searched(4).codes)


def test_inputs_that_were_always_zero_or_always_the_same_harm_nothing() -> None:
    squares, means = SQUARES.copy(), MEANS.copy()
    squares[:70] = means[:70] = 0
    squares[100:140] = np.square(means[100:140])  # nothing but their mean
    given = search(WEIGHT, 4, SIZE, mx.bfloat16, mx.array(squares))
    found = keep_means(WEIGHT, given, mx.array(squares), mx.array(means), 4)
    assert mx.array_equal(found.codes[:, :70], given.codes[:, :70])
    assert np.isfinite(off(found)).all()
    assert np.abs(off(found) @ means).mean() < np.abs(off(given) @ means).mean()


def test_a_row_beyond_float32_keeps_its_codes_and_harms_no_other() -> None:
    loud = np.array(WEIGHT)
    loud[5] *= 1e38
    given = searched(4, mx.array(loud))
    found = kept(4, mx.array(loud))
    assert mx.array_equal(found.codes[5], given.codes[5])
    quiet = np.delete(np.arange(ROWS), 5)
    assert mx.array_equal(found.codes[mx.array(quiet)], kept(4).codes[mx.array(quiet)])


@pytest.mark.parametrize("cut", [1, 2, 7, 95])
def test_a_row_has_the_same_bytes_whatever_rows_are_with_it(cut: int) -> None:
    whole = kept(3)
    for part in (slice(0, cut), slice(cut, ROWS)):
        assert mx.array_equal(kept(3, WEIGHT[part]).codes, whole.codes[part])


@pytest.mark.parametrize("bits", [2, 4])
def test_a_gpu_takes_the_same_steps(bits: int) -> None:
    given = searched(bits)
    sides = tuple(each.astype(mx.float32) for each in (WEIGHT, given.scales, given.biases))
    line = _Line.of(SQUARES, MEANS)
    top = 2**bits - 1
    (one, left), (other, rest) = _with_numpy(sides, line, top), _with_mlx(sides, line, top)
    assert float((one == other).mean()) > 0.999
    assert left.shape == rest.shape == (ROWS,)
