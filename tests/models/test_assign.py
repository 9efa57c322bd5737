"""What becomes of each layer, and which rules are refused."""

from __future__ import annotations

from typing import Any

import pytest

from mlxforge.errors import ForgeError, Position
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.table import Layer, LayerTable, Tensor
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override, Quantize


def layer(
    path: str, role: str, columns: int = 128, quantizable: bool = True, own_rule: Any = True
) -> Layer:
    tensor = Tensor(f"{path}.weight", "bfloat16", (64, columns), True)
    return Layer(path, "Linear", role, quantizable, own_rule, (tensor,))


TABLE = LayerTable(
    "test",
    "bfloat16",
    (
        layer("model.embed", "embeddings"),
        layer("model.layers.0.attn.q", "attention"),
        layer("model.layers.0.mlp.up", "mlp"),
        layer("model.layers.0.mlp.gate", "router"),
        layer("model.layers.0.norm", "other", quantizable=False),
        layer("model.layers.1.attn.q", "attention", own_rule={"group_size": 64, "bits": 8}),
        layer("model.layers.1.attn.k", "attention"),
        layer("model.layers.1.attn.mla", "attention", own_rule=False),
        layer("model.layers.1.mlp.down", "mlp", columns=96),
        layer("vision.q", "vision"),
    ),
)


def rule(layers: str, line: int = 1, quantize: bool = True, **scheme: Any) -> Override:
    at = Position("recipes/r.yaml", line, 5)
    full = {"bits": 8, "group_size": 32, "mode": "affine"} | scheme
    return Override(layers, quantize, **full, at=at)


def decide(*rules: Override, **words: Any) -> dict[str, Scheme | None]:
    plain = {"bits": 4, "group_size": 32, "mode": "affine"}
    wanted = Quantize(
        "rtn", **(plain | words), scales="minmax", dtype=None, refine="none", overrides=rules,
        at=Position("recipes/r.yaml", 9, 3),
    )  # fmt: skip
    return {entry.layer.path: entry.scheme for entry in assign(TABLE, wanted)}


def refusal(*rules: Override, **words: Any) -> str:
    with pytest.raises(ForgeError) as caught:
        decide(*rules, **words)
    return str(caught.value)


FOUR, EIGHT = Scheme(4, 32, "affine"), Scheme(8, 32, "affine")


def test_without_rules_protected_layers_keep_what_protects_them() -> None:
    assert decide() == {
        "model.embed": FOUR,
        "model.layers.0.attn.q": FOUR,
        "model.layers.0.mlp.up": FOUR,
        "model.layers.0.mlp.gate": Scheme(8, 64, "affine"),
        "model.layers.0.norm": None,
        "model.layers.1.attn.q": Scheme(8, 64, "affine", explicit_mode=False),
        "model.layers.1.attn.k": FOUR,
        "model.layers.1.attn.mla": None,
        "model.layers.1.mlp.down": FOUR,
        "vision.q": None,
    }


def test_a_role_decides_its_layers_and_no_protected_ones() -> None:
    found = decide(rule("attention", bits=6))
    assert found["model.layers.0.attn.q"] == Scheme(6, 32, "affine")
    assert found["model.layers.1.attn.q"] == Scheme(8, 64, "affine", explicit_mode=False)
    assert found["model.layers.1.attn.mla"] is None


def test_the_first_rule_that_matches_wins() -> None:
    found = decide(rule("model.layers.0.attn.*", 1, bits=6), rule("attention", 2), rule("mlp", 3))
    assert found["model.layers.0.attn.q"] == Scheme(6, 32, "affine")
    assert found["model.layers.1.attn.k"] == found["model.layers.0.mlp.up"] == EIGHT


def test_a_broad_glob_does_not_crush_a_router() -> None:
    assert decide(rule("model.layers.0.*", bits=2))["model.layers.0.mlp.gate"] == Scheme(
        8, 64, "affine"
    )


@pytest.mark.parametrize("layers", ["router", "*.gate", "model.layers.0.mlp.gate"])
def test_a_rule_that_names_a_router_decides_it(layers: str) -> None:
    assert decide(rule(layers, bits=2))["model.layers.0.mlp.gate"] == Scheme(2, 32, "affine")


def test_a_rule_that_names_a_tower_decides_it() -> None:
    assert decide(rule("vision"))["vision.q"] == EIGHT


def test_a_router_is_left_alone_where_the_default_is_wide_enough() -> None:
    assert decide(bits=8)["model.layers.0.mlp.gate"] == EIGHT


def test_quantize_false_leaves_a_layer_as_it_is() -> None:
    assert decide(rule("mlp", quantize=False))["model.layers.0.mlp.up"] is None


def test_a_rule_that_matches_nothing_is_refused_with_the_closest_path() -> None:
    assert refusal(rule("model.layers.0.mlp.upp")) == (
        "recipes/r.yaml:1:5: override 'model.layers.0.mlp.upp' matches no layer\n"
        "  did you mean 'model.layers.0.mlp.up'?"
    )


def test_a_role_that_the_model_lacks_is_refused_with_those_it_has() -> None:
    assert refusal(rule("experts")) == (
        "recipes/r.yaml:1:5: override 'experts' matches no layer\n"
        "  the model has: attention, embeddings, mlp, other, router, vision"
    )


def test_a_rule_behind_a_wider_one_is_refused() -> None:
    assert refusal(rule("attention", 1), rule("model.layers.0.attn.q", 2)) == (
        "recipes/r.yaml:2:5: override 'model.layers.0.attn.q' has no effect: "
        "recipes/r.yaml:1:5 decides all its layers\n"
        "  the first match wins: put the narrower rule first"
    )


def test_a_rule_for_norms_is_refused() -> None:
    assert "matches only layers that cannot be quantized" in refusal(rule("*.norm"))


def test_a_rule_that_meets_only_protected_layers_is_refused() -> None:
    assert refusal(rule("model.layers.1.attn.m*")) == (
        "recipes/r.yaml:1:5: override 'model.layers.1.attn.m*' matches only protected layers, "
        "such as model.layers.1.attn.mla\n"
        "  name them: `layers: 'model.layers.1.attn.mla'`"
    )
    assert "name them: `layers: vision` or `layers: 'vision.q'`" in refusal(rule("vision.*"))


def test_a_group_size_that_does_not_divide_is_refused_at_the_rule() -> None:
    assert refusal(rule("mlp", 7, group_size=64)) == (
        "recipes/r.yaml:7:5: group_size 64 does not divide the 96 columns of "
        "model.layers.1.mlp.down\n"
        "  group_size 32 divides it; or add a rule `layers: 'model.layers.1.mlp.down'` "
        "with `quantize: false`"
    )


def test_where_nothing_divides_in_any_block_one_rule_for_all_of_them_is_named() -> None:
    odd = tuple(layer(f"model.layers.{n}.altup", "other", columns=4) for n in range(2))
    wanted = Quantize("rtn", 4, 32, "affine", "minmax", None, "none")
    with pytest.raises(ForgeError) as caught:
        assign(LayerTable("odd", None, odd), wanted)
    assert str(caught.value).endswith(
        "\n  add a rule `layers: 'model.layers.*.altup'` with `quantize: false`"
    )


def test_a_default_group_size_that_does_not_divide_is_refused_at_the_section() -> None:
    assert refusal(group_size=128).startswith("recipes/r.yaml:9:3: group_size 128 does not divide")


def test_a_recipe_that_leaves_everything_as_it_is_is_refused() -> None:
    assert "nothing would be quantized" in refusal(
        rule("*", quantize=False), rule("*.gate", 2, quantize=False), rule("*.q", 3, quantize=False)
    )
