"""Bits that are chosen by what was measured: what is free, what counts, and what fills it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlxforge.errors import ForgeError, Position
from mlxforge.models.layers.assign import CHOSEN, assign
from mlxforge.models.layers.size import model_size
from mlxforge.models.layers.table import Layer, LayerTable, Tensor
from mlxforge.models.layers.widths import Cost, choose_widths
from mlxforge.recipe.methods import Dynamic
from mlxforge.recipe.model import Override, Quantize


def layer(path: str, role: str, rows: int, **more: object) -> Layer:
    tensor = Tensor(f"{path}.weight", "bfloat16", (rows, 128), True)
    return Layer(path, "Linear", role, True, True, (tensor,), **more)  # type: ignore[arg-type]


BLOCKS = [
    layer(f"model.layers.{block}.{name}", role, rows)
    for block in range(6)
    for name, role, rows in (("attn.q", "attention", 16), ("mlp.up", "mlp", 64))
]
TABLE = LayerTable(
    "test",
    "bfloat16",
    (
        layer("model.embed", "embeddings", 256),
        *BLOCKS,
        layer("model.layers.0.router", "router", 8),
        layer("lm_head", "lm_head", 256, tied="model.embed"),
    ),
)
RULE = Override("attention", True, 6, 64, "affine", at=Position("recipes/r.yaml", 3, 5))
WANTED = Quantize("dynamic", 4, 64, "affine", "minmax", None, "none", (RULE,))


def costs(loudest: str) -> dict[str, Cost]:
    """Each width costs a fourth of the one below; one layer a hundredfold."""
    free = ["model.embed", *(e.path for e in BLOCKS if e.role == "mlp")]
    return {p: lambda bits, p=p: (100 if p == loudest else 1) * 4.0**-bits for p in free}  # type: ignore[misc]


def chosen(target: float, loudest: str, low: int = 2, high: int = 8) -> Quantize:
    wanted = Dynamic(target, low, high, "rtn")
    found = choose_widths(TABLE, assign(TABLE, WANTED), None, wanted, costs(loudest))
    return replace(WANTED, widths=tuple(found.bits.items()))


def test_the_target_counts_everything_and_rules_and_guards_stay() -> None:
    quantize = chosen(4.5, "model.layers.3.mlp.up")
    decided = {entry.layer.path: entry for entry in assign(TABLE, quantize)}
    bits = {path: entry.scheme.bits for path, entry in decided.items() if entry.scheme}
    assert 4.3 < model_size(decided.values(), "bfloat16").bits_per_weight <= 4.5
    assert {bits[e.path] for e in BLOCKS if e.role == "attention"} == {6}
    assert bits["model.layers.0.router"] == 8
    assert bits["lm_head"] == bits["model.embed"]
    assert bits["model.layers.3.mlp.up"] == max(bits[e.path] for e in BLOCKS if e.role == "mlp")
    assert decided["model.embed"].reason == CHOSEN


def test_bits_stay_between_the_least_and_the_most() -> None:
    found = dict(chosen(5.2, "model.embed", low=3, high=5).widths or ())
    assert set(found.values()) <= {3, 4, 5} and found["model.embed"] == 5


def test_a_layer_that_no_token_came_to_gets_what_all_could_have() -> None:
    known = costs("model.embed")
    del known["model.layers.2.mlp.up"]
    wanted = Dynamic(5.0, 2, 8, "rtn")
    found = choose_widths(TABLE, assign(TABLE, WANTED), None, wanted, known)
    assert found.bits["model.layers.2.mlp.up"] == 4


def test_widths_for_other_layers_are_refused() -> None:
    with pytest.raises(ForgeError, match=r"for other layers than these: there are none for model"):
        assign(TABLE, replace(WANTED, widths=(("model.embed", 4),)))
