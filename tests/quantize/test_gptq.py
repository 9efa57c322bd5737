"""GPTQ against its definition, column by column in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import hypothesis.strategies as st
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings

from mlxforge.errors import ForgeError
from mlxforge.quantize.affine import Affine, decode
from mlxforge.quantize.columns import UNIT, Columns, codes_on_cpu, codes_on_gpu
from mlxforge.quantize.factor import prepare
from mlxforge.quantize.gptq import gptq, quantize
from mlxforge.quantize.refit import refit
from mlxforge.quantize.search import search
from mlxforge.quantize.shared import shared

WIDTHS = (2, 3, 4, 5, 6, 8)

# 1536 columns: from some hundreds on BLAS and LAPACK divide their work among threads
DIGEST = """
import hashlib, sys
from mlxforge.models.blas import load_blas
load_blas()
import mlx.core as mx
import numpy as np
from mlxforge.quantize.factor import prepare
from mlxforge.quantize.gptq import quantize

numbers = np.random.default_rng(0)
inputs = numbers.integers(-99, 99, size=(1800, 1536)) / 64  # sums of these products are exact
factor = prepare((inputs.T @ inputs).astype(sys.argv[1]))
found = quantize(mx.array(numbers.normal(size=(300, 1536))), factor, 4, 64, mx.bfloat16)
digest = hashlib.sha256()
for part in (factor.feedback, found.codes, found.scales, found.biases):
    digest.update(np.array(part.view(mx.uint8)).tobytes())
print(digest.hexdigest())
"""


def layer(rows: int, columns: int, seed: int = 0) -> tuple[mx.array, np.ndarray]:
    """A weight, and the Hessian of inputs that are correlated and of unequal size."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(columns, columns)) / np.sqrt(columns) + np.eye(columns)
    inputs = rng.normal(size=(4 * columns, columns)) @ (mixed * np.exp(rng.normal(size=columns)))
    weight = mx.array(rng.normal(size=(rows, columns)).astype(np.float32))
    return weight, inputs.T @ inputs / len(inputs)


def naive(
    weight: mx.array, hessian: np.ndarray, grids: Affine, bits: int, size: int, act_order: bool
) -> np.ndarray:
    """Codes as in the paper: its equations 2 and 3 with the inverse's own Cholesky factor, one
    column at a time, every later column told at once. 1 % damping."""
    wanted = np.array(weight, dtype=np.float64)
    columns = len(hessian)
    damped = hessian + 0.01 * np.trace(hessian) / columns * np.eye(columns)
    diagonal = np.diagonal(hessian)
    order = np.argsort(-diagonal, kind="stable") if act_order else np.arange(columns)
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor = np.linalg.cholesky(inverse).T
    scales, biases = (np.array(a.astype(mx.float32)) for a in (grids.scales, grids.biases))
    codes = np.empty(wanted.shape, dtype=np.uint8)
    for at, column in enumerate(order):
        s, b = scales[:, column // size], biases[:, column // size]
        codes[:, column] = np.clip(np.rint((wanted[:, column] - b) / s), 0, 2**bits - 1)
        error = (wanted[:, column] - (s * codes[:, column] + b)) / factor[at, at]
        later = order[at + 1 :]
        wanted[:, later] -= np.outer(error, factor[at, at + 1 :])
    return codes


def loss(weight: mx.array, affine: Affine, hessian: np.ndarray, size: int) -> np.ndarray:
    """The error of each row in its outputs, float64 [rows]."""
    error = np.array(weight, dtype=np.float64) - np.array(decode(affine, size), dtype=np.float64)
    found: np.ndarray = np.einsum("ri,ij,rj->r", error, hessian, error)
    return found


def same(one: Affine, other: Affine) -> bool:
    pairs = zip(
        (one.codes, one.scales, one.biases),
        (other.codes, other.scales, other.biases),
        strict=True,
    )
    return all(a.dtype == b.dtype and bool(mx.array_equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("bits", WIDTHS)
def test_codes_are_those_of_the_paper_column_by_column(bits: int, act_order: bool) -> None:
    weight, hessian = layer(40, 192)
    factor = prepare(hessian, shrinkage=0, act_order=act_order)
    found = quantize(weight, factor, bits, 64, mx.float32, block_size=48, sweeps=0)
    expected = naive(weight, hessian, found, bits, 64, act_order)
    # float32 decides otherwise where a weight lies between two codes, and the rest of its row
    # then has another error to make up for
    equal = np.array(found.codes) == expected
    assert equal.mean() > 0.99
    assert equal.all(axis=1).mean() > 0.85


def test_the_loop_for_a_gpu_takes_the_same_steps() -> None:
    weight, hessian = layer(64, 192)
    factor = prepare(hessian)
    grids = search(weight, 4, 64, mx.float32, factor.importance)
    columns = Columns(
        weight=mx.contiguous(weight.T),
        scales=mx.contiguous(grids.scales.T),
        biases=mx.contiguous(grids.biases.T),
        groups=np.arange(192) // 64,
        feedback=factor.feedback,
        top=15,
    )
    one, other = codes_on_cpu(columns, 80), codes_on_gpu(columns, 80)
    assert one.dtype == other.dtype == mx.uint8
    assert np.mean(np.array(one) == np.array(other)) > 0.99


@pytest.mark.parametrize("bits", WIDTHS)
def test_far_less_error_than_with_each_weight_rounded_alone(bits: int) -> None:
    weight, hessian = layer(32, 256)
    factor = prepare(hessian)
    alone = loss(weight, search(weight, bits, 64, mx.bfloat16, factor.importance), hessian, 64)
    found = loss(weight, gptq(weight, hessian, bits, 64, mx.bfloat16), hessian, 64)
    assert found.sum() < 0.8 * alone.sum()


def test_the_order_of_columns_matters_and_both_orders_do_well() -> None:
    weight, hessian = layer(32, 256)
    alone = loss(weight, search(weight, 3, 64, mx.bfloat16), hessian, 64).sum()
    by_size = gptq(weight, hessian, 3, 64, mx.bfloat16, act_order=True)
    in_line = gptq(weight, hessian, 3, 64, mx.bfloat16, act_order=False)
    assert not same(by_size, in_line)
    assert loss(weight, by_size, hessian, 64).sum() < loss(weight, in_line, hessian, 64).sum()
    assert loss(weight, in_line, hessian, 64).sum() < alone


@pytest.mark.parametrize("bits", WIDTHS)
def test_inputs_that_are_independent_and_alike_leave_the_searched_codes(bits: int) -> None:
    weight, _ = layer(24, 128)
    factor = prepare(np.eye(128))
    found = quantize(weight, factor, bits, 32, mx.bfloat16, sweeps=0)
    assert same(found, search(weight, bits, 32, mx.bfloat16, factor.importance))


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 63), max_size=3, unique=True), bits=st.sampled_from(WIDTHS))
def test_pieces_of_rows_have_the_bytes_of_all_rows(cuts: list[int], bits: int) -> None:
    weight, hessian = layer(64, 64)
    factor = prepare(hessian)
    whole = quantize(weight, factor, bits, 32, mx.bfloat16)
    edges = [0, *sorted(cuts), 64]
    pieces = [
        quantize(weight[start:stop], factor, bits, 32, mx.bfloat16)
        for start, stop in pairwise(edges)
    ]
    joined = Affine(
        mx.concatenate([piece.codes for piece in pieces]),
        mx.concatenate([piece.scales for piece in pieces]),
        mx.concatenate([piece.biases for piece in pieces]),
    )
    assert same(joined, whole)


@pytest.mark.parametrize("columns", [64, 576, 1536])
def test_rows_that_go_together_come_out_as_they_do_apart(columns: int) -> None:
    weight, hessian = layer(3 * UNIT + 5, columns)
    factor = prepare(hessian)
    whole = quantize(weight, factor, 4, 64, mx.float16)
    assert whole.codes.shape == weight.shape
    for start in range(0, len(weight), UNIT):
        part = slice(start, start + UNIT)
        alone = quantize(weight[part], factor, 4, 64, mx.float16)
        assert same(alone, Affine(whole.codes[part], whole.scales[part], whole.biases[part]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_thread_and_two_give_the_same_bytes(dtype: str) -> None:
    def digest(threads: str) -> str:
        variables = os.environ | {"OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", DIGEST, dtype]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return done.stdout

    assert digest("1") == digest("2")


def test_blocks_change_nothing_but_the_order_of_sums() -> None:
    weight, hessian = layer(32, 256)
    factor = prepare(hessian)
    one, other = (
        quantize(weight, factor, 4, 64, mx.bfloat16, block_size=size) for size in (256, 40)
    )
    assert np.mean(np.array(one.codes) == np.array(other.codes)) > 0.99
    losses = [loss(weight, found, hessian, 64).sum() for found in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_a_refit_raises_no_rows_error_and_keeps_the_codes(dtype: mx.Dtype) -> None:
    weight, hessian = layer(64, 256)
    factor = prepare(hessian)
    damped = np.array(factor.hessian, dtype=np.float64)
    before = quantize(weight, factor, 3, 64, dtype, sweeps=0)
    after = refit(weight, before, factor.hessian, 64, sweeps=3)
    assert mx.array_equal(after.codes, before.codes)
    assert after.scales.dtype == after.biases.dtype == dtype
    found, was = loss(weight, after, damped, 64), loss(weight, before, damped, 64)
    assert (found <= was * (1 + 1e-5)).all()
    assert found.sum() < 0.99 * was.sum()


def test_a_refit_arrives_at_the_least_squares_solution() -> None:
    weight, hessian = layer(8, 128)
    factor = prepare(hessian)
    start = search(weight, 3, 64, mx.float32)
    found = refit(weight, start, factor.hessian, 64, sweeps=200)
    damped = np.array(factor.hessian, dtype=np.float64)
    root = np.linalg.cholesky(damped)
    for row in range(8):
        columns = np.zeros((128, 4))
        for group in range(2):
            part = slice(group * 64, group * 64 + 64)
            columns[part, group] = np.array(start.codes)[row, part]
            columns[part, 2 + group] = 1
        target = root.T @ np.array(weight, dtype=np.float64)[row]
        _, residual, *_ = np.linalg.lstsq(root.T @ columns, target)
        assert loss(weight, found, damped, 64)[row] == pytest.approx(residual[0], rel=1e-3)


def test_inputs_that_were_always_zero_cost_nothing_and_harm_nothing() -> None:
    weight, hessian = layer(16, 128)
    dead = np.arange(0, 128, 3)
    hessian[dead] = 0
    hessian[:, dead] = 0
    found = gptq(weight, hessian, 4, 64, mx.bfloat16)
    error = np.array(weight) - np.array(decode(found, 64))
    assert np.isfinite(error).all()
    alone = loss(weight, search(weight, 4, 64, mx.bfloat16), hessian, 64)
    assert loss(weight, found, hessian, 64).sum() < alone.sum()


def test_no_inputs_at_all_is_the_search_without_text() -> None:
    weight, _ = layer(16, 128)
    factor = prepare(np.zeros((128, 128)))
    found = quantize(weight, factor, 4, 64, mx.bfloat16, sweeps=0)
    assert same(found, search(weight, 4, 64, mx.bfloat16, factor.importance))


def test_damping_grows_until_the_hessian_is_positive_definite() -> None:
    weight, hessian = layer(16, 128)
    values, vectors = np.linalg.eigh(hessian)
    values[0] = -0.03 * values.mean()  # as rounding may leave it, much exaggerated
    broken = (vectors * values) @ vectors.T
    assert prepare(hessian).damping == 0.01
    assert prepare(broken).damping == pytest.approx(0.1)
    assert np.isfinite(np.array(decode(gptq(weight, broken, 4, 64, mx.bfloat16), 64))).all()


def test_fewer_inputs_than_columns_need_no_more_than_the_damping() -> None:
    inputs = np.random.default_rng(0).normal(size=(20, 128))
    hessian = inputs.T @ inputs
    assert prepare(hessian, shrinkage=0).damping == 0.01
    assert prepare(hessian, shrinkage=0, damping=0).damping > 0
    assert prepare(hessian, damping=0).damping == 0  # less correlation is enough as well


def test_shrinkage_takes_correlations_back_and_leaves_the_diagonal() -> None:
    _, hessian = layer(1, 64)
    mean = np.trace(hessian) / 64
    found = np.array(prepare(hessian, damping=0.25, shrinkage=0.5).hessian)
    expected = hessian / mean / 2
    np.fill_diagonal(expected, np.diagonal(hessian) / mean + 0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_without_any_correlation_each_weight_is_rounded_alone() -> None:
    weight, hessian = layer(24, 128)
    factor = prepare(hessian, shrinkage=1)
    found = quantize(weight, factor, 3, 64, mx.bfloat16, sweeps=0)
    assert same(found, search(weight, 3, 64, mx.bfloat16, factor.importance))


def test_correlations_of_few_inputs_mislead_less_with_shrinkage() -> None:
    weight, _ = layer(64, 128)
    sizes = np.exp(np.random.default_rng(1).normal(size=128))
    inputs = np.random.default_rng(2).normal(size=(160, 128)) * sizes  # none has to do with another
    hessian = np.diag(sizes**2)
    few = inputs.T @ inputs / len(inputs)
    believed, doubted = (
        loss(weight, gptq(weight, few, 3, 64, mx.bfloat16, shrinkage=part), hessian, 64).sum()
        for part in (0, 0.4)
    )
    assert doubted < 0.9 * believed


def test_a_hessian_in_single_precision_is_factorised_in_it() -> None:
    weight, hessian = layer(64, 256)
    exact, single = prepare(hessian), prepare(hessian.astype(np.float32))
    assert mx.array_equal(single.order, exact.order)
    for one, other in ((single.feedback, exact.feedback), (single.pivots, exact.pivots)):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=0, atol=1e-5)
    found, expected = (quantize(weight, each, 3, 64, mx.bfloat16) for each in (single, exact))
    assert float((found.codes == expected.codes).mean()) > 0.999
    losses = [loss(weight, each, hessian, 64).sum() for each in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("zero", [False, True])
def test_a_factor_that_is_written_over_its_hessian_is_the_same(zero: bool) -> None:
    _, hessian = layer(64, 256)
    room, memory = shared(256, 256)
    memory[:] = 0 if zero else hessian
    expected = prepare(memory.copy(), damping=0.03)
    found = prepare(memory, damping=0.03, room=room)
    assert (found.hessian is room) != zero
    assert (found.damping, found.measure) == (expected.damping, expected.measure)
    for name in ("hessian", "importance", "order", "feedback", "pivots"):
        assert mx.array_equal(getattr(found, name), getattr(expected, name)), name


def test_one_direction_that_all_inputs_share_needs_no_more_damping_in_single_precision() -> None:
    numbers = np.random.default_rng(5)
    inputs = 100 + numbers.normal(size=(256, 512))  # the largest of eigenvalues is all of it
    hessian = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    assert prepare(hessian, damping=0.01).damping == 0.01


def test_the_unit_of_the_hessian_does_not_matter() -> None:
    weight, hessian = layer(16, 128)
    small, large = (gptq(weight, hessian * 4.0**unit, 4, 64, mx.bfloat16) for unit in (-20, 20))
    assert same(small, large)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-36, 1e-38, 1e-40, 1e-44])
def test_inputs_of_next_to_nothing_leave_finite_factors(unit: float, dtype: type) -> None:
    factor = prepare((layer(16, 128)[1] * unit).astype(dtype))
    for found in (factor.hessian, factor.feedback, factor.pivots, factor.importance):
        assert mx.isfinite(found).all().item()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_hessian_that_is_not_finite_is_refused(value: float) -> None:
    hessian = np.eye(64)
    hessian[3, 5] = value
    with pytest.raises(ForgeError, match="Hessian of the inputs is not finite"):
        prepare(hessian)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    bits=st.sampled_from(WIDTHS),
    size=st.sampled_from([32, 64, 128]),
    spread=st.floats(0, 6),
)
def test_whatever_the_weights_codes_fit_and_values_are_finite(
    seed: int, bits: int, size: int, spread: float
) -> None:
    weight, hessian = layer(8, 128, seed)
    rng = np.random.default_rng(seed)
    weight = weight * mx.array(np.exp(spread * rng.normal(size=(8, 1))).astype(np.float32))
    weight = mx.where(mx.arange(8)[:, None] == 3, 0.25, weight)  # a row of one value
    weight = mx.where(mx.arange(8)[:, None] == 5, 0, weight)
    found = gptq(weight, hessian, bits, size, mx.bfloat16)
    assert found.codes.dtype == mx.uint8
    assert int(found.codes.max()) < 2**bits
    assert np.isfinite(np.array(decode(found, size))).all()
    assert np.array(decode(found, size))[5] == pytest.approx(0, abs=1e-6)
