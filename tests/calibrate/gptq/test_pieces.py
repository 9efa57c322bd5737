"""What a solver makes of a layer, a few rows at a time and of weights that were scaled."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.drifts import Drift
from mlxforge.calibrate.gptq import solver
from mlxforge.calibrate.gptq.solver import Solver
from mlxforge.calibrate.hessians import Hessian
from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.table import Layer, Tensor
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.drift import compensated
from mlxforge.quantize.factor import prepare
from mlxforge.quantize.gptq import quantize
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import Gptq as Settings

CHANCE = np.random.default_rng(8)
ROWS, COLUMNS = 700, 64
WEIGHT = mx.array(CHANCE.normal(size=(ROWS, COLUMNS)).astype(np.float32))  # no bfloat16 numbers
INPUTS = CHANCE.normal(size=(400, COLUMNS)) @ CHANCE.normal(size=(COLUMNS, COLUMNS))
SECOND = INPUTS.T @ INPUTS / len(INPUTS)
CHANGE = (INPUTS[:, ::-1].T @ INPUTS / len(INPUTS) / 10).astype(np.float32)
LAYER = Layer(
    "layer", "Linear", "mlp", True, True,
    (Tensor("layer.weight", "bfloat16", (ROWS, COLUMNS), casts=True),),
)  # fmt: skip


def solved(scaled: bool = False, expert: int | None = None) -> Affine:
    entry = Assignment(LAYER, Scheme(4, 32, "affine"), "default")
    own = Solver([entry], None, Settings(32, 0.03, True), ["layer"] if scaled else [])
    hessian = Hessian(SECOND, 400 if expert is None else 3, Drift(CHANGE))
    return own.solve({"layer": WEIGHT}, expert, hessian)["layer"]


def rounded(weight: mx.array) -> Affine:
    factor = prepare(SECOND, damping=0.03)
    meant = compensated(weight, factor, np.array(weight) @ CHANGE)
    return quantize(meant, factor, 4, 32, mx.bfloat16, block_size=32)


def alike(one: Affine, other: Affine) -> float:
    """Products of other shapes are rounded otherwise, which moves a code here and there."""
    return float((one.codes == other.codes).mean())


def test_every_piece_makes_up_for_changed_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "rows_at_once", lambda columns: 256)
    plain = WEIGHT.astype(mx.bfloat16).astype(mx.float32)
    found, expected = solved(), rounded(plain)
    without = quantize(plain, prepare(SECOND, damping=0.03), 4, 32, mx.bfloat16, block_size=32)
    for start in range(0, ROWS, 256):
        piece = slice(start, start + 256)
        mine, whole, bare = (
            Affine(*(part[piece] for part in (each.codes, each.scales, each.biases)))
            for each in (found, expected, without)
        )
        assert alike(mine, whole) > 0.999 > 0.9 > alike(mine, bare)


def test_weights_that_were_scaled_after_a_cast_are_not_cast_again() -> None:
    cast = WEIGHT.astype(mx.bfloat16).astype(mx.float32)
    assert alike(solved(scaled=True), rounded(WEIGHT)) > 0.999
    assert alike(solved(scaled=False), rounded(cast)) > 0.999
    assert alike(rounded(cast), rounded(WEIGHT)) < 0.99
    assert mx.array_equal(
        solved(scaled=True, expert=0).scales, search(WEIGHT, 4, 32, mx.bfloat16).scales
    )
    assert not mx.array_equal(
        solved(scaled=False, expert=0).scales, search(WEIGHT, 4, 32, mx.bfloat16).scales
    )
