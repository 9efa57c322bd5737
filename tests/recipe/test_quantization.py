"""Which bits, groups and modes go together, in the recipe and in its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlxforge.recipe.modes import MODES
from mlxforge.recipe.schema import load_schema

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


SOURCE = "source: {path: m}\n"


def test_the_default_is_round_to_nearest_with_4_bits(project: Project) -> None:
    quantize = project.recipe(SOURCE).quantize
    assert (quantize.method, quantize.bits, quantize.group_size) == ("rtn", 4, 64)
    assert (quantize.mode, quantize.scales, quantize.dtype) == ("affine", "minmax", None)
    assert (quantize.refine, quantize.overrides, quantize.at) == ("none", (), None)


@pytest.mark.parametrize(
    ("mode", "bits", "group_size"),
    [("affine", 4, 64), ("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)],
)
def test_a_mode_brings_its_own_bits_and_group_size(
    project: Project, mode: str, bits: int, group_size: int
) -> None:
    recipe = project.recipe(SOURCE + f"quantize: {{mode: {mode}}}")
    assert (recipe.quantize.bits, recipe.quantize.group_size) == (bits, group_size)
    assert recipe.document["quantize"]["bits"] == bits


def test_the_schema_offers_what_the_modes_have() -> None:
    keys = load_schema()["properties"]["quantize"]["properties"]
    bits = {bits for mode in MODES.values() for bits in mode.bits}
    sizes = {size for mode in MODES.values() for size in mode.group_sizes}
    assert set(keys["bits"]["enum"]) == {*bits, None}
    assert set(keys["group_size"]["enum"]) == {*sizes, None}
    assert keys["mode"]["enum"] == list(MODES)


def test_a_rule_takes_what_it_leaves_out_from_the_recipe(project: Project) -> None:
    (rule,) = project.recipe(
        SOURCE + "quantize: {bits: 3, group_size: 128, overrides: [{layers: mlp, bits: 6}]}"
    ).quantize.overrides
    assert (rule.bits, rule.group_size, rule.mode, rule.quantize) == (6, 128, "affine", True)
    assert str(rule.at) == "recipes/mine.yaml:2:50"


def test_a_rule_that_changes_the_mode_takes_the_mode_s_own(project: Project) -> None:
    (rule,) = project.recipe(
        SOURCE + "quantize: {bits: 3, overrides: [{layers: mlp, mode: mxfp8}]}"
    ).quantize.overrides
    assert (rule.bits, rule.group_size, rule.mode) == (8, 32, "mxfp8")


def test_a_rule_can_leave_layers_alone(project: Project) -> None:
    recipe = project.recipe(SOURCE + "quantize: {overrides: [{layers: lm_head, quantize: false}]}")
    assert recipe.quantize.overrides[0].quantize is False
    assert recipe.document["quantize"]["overrides"] == [{"layers": "lm_head", "quantize": False}]


def test_method_none_keeps_only_the_dtype(project: Project) -> None:
    recipe = project.recipe(SOURCE + "quantize: {method: none, dtype: float16}")
    assert recipe.document["quantize"] == {"method": "none", "dtype": "float16"}


@pytest.mark.parametrize(
    ("quantize", "message"),
    [
        (
            "{mode: mxfp4, bits: 8}",
            "2:31: quantize.bits is 8, which the mode mxfp4 does not have\n"
            "  it has 4; 8: affine, mxfp8",
        ),
        (
            "{mode: nvfp4, group_size: 64}",
            "2:37: quantize.group_size is 64, which the mode nvfp4 does not have\n"
            "  it has 16; 64: affine",
        ),
        (
            "{group_size: 16}",
            "2:24: quantize.group_size is 16, which the mode affine does not have\n"
            "  it has 32, 64, 128; 16: nvfp4",
        ),
        (
            "{mode: mxfp4, overrides: [{layers: mlp, bits: 8}]}",
            "2:57: quantize.overrides[0].bits is 8, which the mode mxfp4 does not have\n"
            "  it has 4; 8: affine, mxfp8",
        ),
        (
            "{overrides: [{layers: mlp, mode: mxfp8, bits: 4}]}",
            "2:57: quantize.overrides[0].bits is 4, which the mode mxfp8 does not have\n"
            "  it has 8; 4: affine, mxfp4, nvfp4",
        ),
        (
            "{overrides: [{layers: mlp, quantize: false, bits: 4}]}",
            "2:55: quantize.overrides[0].bits has no place beside quantize: false\n"
            "  leave out one of the two",
        ),
        (
            "{method: none, bits: 4}",
            "2:26: quantize.bits has no place with method none\n  none only converts to a dtype",
        ),
        (
            "{method: none, refine: dwq}",
            "2:26: quantize.refine has no place with method none\n  none only converts to a dtype",
        ),
    ],
)
def test_what_does_not_go_together_is_told(project: Project, quantize: str, message: str) -> None:
    assert project.error(SOURCE + f"quantize: {quantize}") == f"recipes/mine.yaml:{message}"


def test_weights_that_are_no_numbers_are_refused_unless_they_are_allowed(project: Project) -> None:
    silent = project.recipe(SOURCE)
    said = project.recipe(SOURCE + "quantize: {allow_nonfinite: false}")
    assert silent.quantize == said.quantize and not said.quantize.allow_nonfinite
    assert silent.document == said.document  # and so are the digests of older locks


@pytest.mark.parametrize("method", ["rtn", "none"])
def test_every_method_may_take_weights_that_are_no_numbers(project: Project, method: str) -> None:
    recipe = project.recipe(SOURCE + f"quantize: {{method: {method}, allow_nonfinite: true}}")
    assert recipe.quantize.allow_nonfinite
    assert recipe.document["quantize"]["allow_nonfinite"] is True
