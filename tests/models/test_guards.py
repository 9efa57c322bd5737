"""Guards: what is protected unless a rule names it, and that no guard makes a build fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.errors import ForgeError, Position
from mlxforge.models.layers.assign import Assignment, assign
from mlxforge.models.layers.guards import GUARDED, ROUTER_BITS
from mlxforge.models.layers.table import Layer, LayerTable, Tensor
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import MODES
from mlxforge.report.guards import guard_lines
from tests import checkpoints
from tests.conftest import Workspace

AT = Position("recipes/r.yaml", 5, 7)


def layer(
    path: str, role: str = "mlp", columns: int = 128, own: Any = True, tied: str | None = None
) -> Layer:
    tensor = Tensor(f"{path}.weight", "bfloat16", (4, columns), True)
    return Layer(path, "Linear", role, True, own, (tensor,), tied=tied)


def table(*layers: Layer) -> LayerTable:
    return LayerTable("test", "bfloat16", layers)


def wanted(*rules: Override, bits: int = 4, group_size: int = 32, mode: str = "affine") -> Quantize:
    return Quantize("rtn", bits, group_size, mode, "minmax", None, "none", rules)


def rule(layers: str, bits: int = 2, line: int = 5) -> Override:
    return Override(layers, True, bits, 32, "affine", at=Position("recipes/r.yaml", line, 7))


def one(found: tuple[Assignment, ...], path: str) -> Assignment:
    return next(entry for entry in found if entry.layer.path == path)


columns = st.integers(1, 40).map(lambda number: 8 * number)
own_rules = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"group_size": st.sampled_from([32, 64, 128]), "bits": st.just(8)}),
)
recipes = st.sampled_from(
    [(bits, size, name) for name, mode in MODES.items() for bits in mode.bits
     for size in mode.group_sizes]
)  # fmt: skip


@given(st.data(), recipes)
def test_a_guard_never_fails_where_the_build_would_go_on_without_it(
    data: st.DataObject, recipe: tuple[int, int, str]
) -> None:
    bits, size, mode = recipe
    roles = data.draw(st.lists(st.sampled_from([*GUARDED, "mlp", "attention"]), max_size=8))
    plain = layer("plain", columns=1280)
    layers = [layer(f"layers.{n}.x", "mlp", data.draw(columns)) for n in range(len(roles))]
    wish = wanted(bits=bits, group_size=size, mode=mode)
    guarded = [
        layer(entry.path, role, entry.weight.shape[-1], data.draw(own_rules))
        for entry, role in zip(layers, roles, strict=True)
    ]
    try:
        assign(table(plain, *layers), wish)
    except ForgeError:
        # what no guard protects and does not fit fails with guards too
        guarded = [
            entry for entry in guarded if entry.role in GUARDED or entry.own_rule is not True
        ]
        guarded = [g for g in guarded if g.role != "router" or g.own_rule is not True or bits < 8]
    for entry in assign(table(plain, *guarded), wish):
        scheme, role = entry.scheme, entry.layer.role
        if role in ("vision", "audio", "projector"):
            assert scheme is None
        elif scheme is not None:
            assert entry.layer.weight.shape[-1] % scheme.group_size == 0
            assert role != "router" or scheme.bits >= ROUTER_BITS
        else:
            assert role == "router" or entry.layer.own_rule is not True


@given(st.sampled_from(GUARDED), own_rules, st.sampled_from([2, 3, 4, 5, 6, 8]), st.booleans())
def test_a_rule_that_names_a_guarded_layer_decides_it(
    role: str, own: Any, bits: int, by_path: bool
) -> None:
    layers = table(layer("a.b.guarded", role, own=own), layer("plain"))
    named = rule("*.guarded" if by_path else role, bits)
    found = one(assign(layers, wanted(named)), "a.b.guarded")
    assert (found.scheme, found.guard) == (Scheme(bits, 32, "affine"), None)


@pytest.mark.parametrize("role", GUARDED)
def test_a_rule_for_a_region_leaves_guarded_layers_to_their_guard(role: str) -> None:
    layers = table(layer("a.b.guarded", role), layer("a.b.plain"))
    found = assign(layers, wanted(rule("a.*")))
    assert one(found, "a.b.plain").scheme == Scheme(2, 32, "affine")
    expected = Scheme(8, 64, "affine") if role == "router" else None
    guarded = one(found, "a.b.guarded")
    assert (guarded.scheme, guarded.guard) == (expected, role)


def test_a_router_that_no_group_size_divides_stays_as_it_is_and_says_so() -> None:
    found = one(assign(table(layer("gate", "router", 48), layer("plain")), wanted()), "gate")
    assert found.scheme is None
    assert found.reason == "routers keep what they are: no group size divides them"


@pytest.mark.parametrize(
    "width,size,told",
    [
        (128, 64, "the architecture's own rule"),
        (96, 32, "the architecture's own rule; its group size 64 does not divide 96 columns"),
        (48, None, "the architecture's own rule; its group size 64 does not divide 48 columns"),
    ],
)
def test_an_architectures_own_rule_is_followed_as_far_as_it_fits(
    width: int, size: int | None, told: str
) -> None:
    own = {"group_size": 64, "bits": 8}
    layers = table(layer("gate", "mlp", width, own), layer("plain"))
    found = one(assign(layers, wanted()), "gate")
    expected = Scheme(8, size, "affine", explicit_mode=False) if size else None
    assert (found.scheme, found.reason) == (expected, told)


def test_a_guard_that_changes_nothing_is_not_said_to_act() -> None:
    own = {"group_size": 32, "bits": 8}
    layers = table(layer("gate", "router"), layer("x", own=own), layer("plain"))
    assert guard_lines(assign(layers, wanted(bits=8))) == []


HEADLESS = table(layer("model.embed", "embeddings"), layer("model.layers.0.mlp.up"))
COPIED = table(*HEADLESS.layers, layer("lm_head", "lm_head", tied="model.embed"))


@pytest.mark.parametrize("layers", ["lm_head", "*.lm_head"])
@pytest.mark.parametrize("model", [HEADLESS, COPIED], ids=["no-head", "copied-head"])
def test_a_rule_for_the_head_of_a_tied_model_is_refused_with_the_reason(
    model: LayerTable, layers: str
) -> None:
    with pytest.raises(ForgeError) as caught:
        assign(model, wanted(rule(layers)))
    assert str(caught.value) == (
        f"recipes/r.yaml:5:7: override {layers!r} has nothing of its own to decide: the model's "
        "head is its embeddings\n"
        "  write the rule for `layers: embeddings`"
    )


def test_a_head_that_is_a_copy_of_the_embeddings_is_packed_like_them() -> None:
    found = assign(COPIED, wanted(rule("embeddings", 6), rule("*", 2, line=6)))
    head = one(found, "lm_head")
    assert (head.scheme, head.guard) == (Scheme(6, 32, "affine"), "tied")
    assert head.reason == "the weight of model.embed"


def test_where_a_model_has_a_head_of_its_own_its_rule_decides_it() -> None:
    own = table(*HEADLESS.layers, layer("lm_head", "lm_head"))
    assert one(assign(own, wanted(rule("lm_head"))), "lm_head").scheme == Scheme(2, 32, "affine")


def test_all_kinds_of_layers_that_a_group_size_does_not_divide_are_named() -> None:
    layers = [layer(f"layers.{n}.{name}", columns=width)
              for n in range(2) for name, width in (("a", 96), ("b", 160), ("c", 128))]  # fmt: skip
    with pytest.raises(ForgeError) as caught:
        assign(table(*layers), wanted(group_size=64))
    assert str(caught.value) == (
        "group_size 64 does not divide the 96 columns of layers.*.a, the 160 columns of "
        "layers.*.b\n"
        "  group_size 32 divides all of them; or add rules such as `layers: 'layers.*.a'`, "
        "`layers: 'layers.*.b'` with `quantize: false`"
    )


def test_each_guard_that_acted_has_a_line_that_says_what_changes_it() -> None:
    routers = [layer(f"layers.{n}.gate", "router") for n in range(1200)]
    layers = table(
        *COPIED.layers, *routers, layer("odd.gate", "router", 40), layer("vit.q", "vision"),
        layer("layers.0.mla", own=False), layer("layers.0.sink", own={"bits": 6, "group_size": 64}),
    )  # fmt: skip
    assert guard_lines(assign(layers, wanted())) == [
        "lm_head packed like model.embed, whose weight it is",
        "1,200 router layers kept at 8 bits (a rule for `layers: router` changes that)",
        "1 router layer left unquantized (a rule for `layers: router` changes that)",
        "1 vision layer left unquantized (a rule for `layers: vision` changes that)",
        "1 layer left unquantized, as the architecture says (a rule that names them, such as "
        "`layers: '*.mla'`, changes that)",
        "1 layer kept at 6 bits, as the architecture says (a rule that names them, such as "
        "`layers: '*.sink'`, changes that)",
    ]


def test_doit_plan_says_which_guards_acted(workspace: Workspace, tmp_path: Path) -> None:
    source = checkpoints.write(checkpoints.PLAIN["phimoe"](), tmp_path / "source")
    workspace.recipe("moe", f"source: {{path: {source}}}")
    told = workspace.doit("plan", "moe").stdout
    assert (
        "\n\n  guards: 2 router layers kept at 8 bits "
        "(a rule for `layers: router` changes that)\n\n"
    ) in told
    rules = "{overrides: [{layers: router, bits: 4}]}"
    workspace.recipe("moe", f"source: {{path: {source}}}\nquantize: {rules}\n")
    assert "guards" not in workspace.doit("plan", "moe").stdout


def test_a_rule_for_a_tied_head_is_refused_at_its_line(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    rules = "overrides:\n    - layers: lm_head\n      bits: 8\n"
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}\nquantize:\n  {rules}")
    told = workspace.refused("build", "tiny")
    assert "recipes/tiny.yaml:4:7: override 'lm_head' has nothing of its own to decide" in told
    assert workspace.artifacts("quantize") == []
