"""Rows of a weight become what search makes of them, each expert by what came into it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.models.layers.table import Layer, Tensor
from mlxforge.models.writing.packing import packer
from mlxforge.quantize.affine import Affine, pack
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.means import keep_means
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search

EXPERTS, ROWS, COLUMNS = 3, 40, 128
CHANCE = np.random.default_rng(6)
WEIGHT = mx.array(CHANCE.normal(size=(EXPERTS * ROWS, COLUMNS))).astype(mx.bfloat16)
MEANS = CHANCE.normal(size=(EXPERTS, COLUMNS)).astype(np.float32)
SQUARES = np.square(MEANS) * 2
SCHEME = Scheme(4, 64, "affine")
LAYER = Layer(
    "layer", "SwitchLinear", "mlp", True, True,
    (Tensor("layer.weight", "bfloat16", (EXPERTS, ROWS, COLUMNS), casts=True),),
)  # fmt: skip


def packed(known: Importance, start: int, stop: int) -> tuple[mx.array, ...]:
    return packer(LAYER, SCHEME, "search", {"layer": known})(WEIGHT[start:stop], start)


def alike(parts: tuple[mx.array, ...], found: Affine) -> bool:
    wanted = pack(found.codes, 4), found.scales, found.biases
    return all(bool(mx.array_equal(a, b)) for a, b in zip(parts, wanted, strict=True))


@pytest.mark.parametrize(("start", "stop"), [(0, 40), (40, 60), (90, 120)])
def test_rows_of_an_expert_keep_the_products_with_its_own_mean(start: int, stop: int) -> None:
    known = Importance(SQUARES, np.array([900, 900, 900]), MEANS)
    expert, rows = start // ROWS, WEIGHT[start:stop]
    squares, means = mx.array(SQUARES[expert]), mx.array(MEANS[expert])
    nearest = search(rows, 4, 64, mx.bfloat16, squares)
    assert alike(packed(known, start, stop), keep_means(rows, nearest, squares, means, 4))
    assert not alike(packed(known, start, stop), nearest)


def test_codes_are_the_nearest_where_no_mean_is_known() -> None:
    for known in (
        Importance(SQUARES, np.array([900, 900, 900])),
        Importance(SQUARES, np.array([9, 9, 9]), MEANS),
    ):
        wanted = search(WEIGHT[:ROWS], 4, 64, mx.bfloat16, known.likely(0))
        assert alike(packed(known, 0, ROWS), wanted)


def test_rows_of_two_experts_are_each_experts_own() -> None:
    known = Importance(SQUARES, np.array([900, 900, 9]), MEANS)
    both, one, other = packed(known, 20, 110), packed(known, 20, 80), packed(known, 80, 110)
    for whole, *parts in zip(both, one, other, strict=True):
        assert mx.array_equal(whole, mx.concatenate(parts))
