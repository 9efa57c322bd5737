"""What a recipe says of methods that learn: their sections, and the text that they have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlxforge.recipe.methods import Awq, Dwq, Dynamic, Gptq, sections_in_use
from mlxforge.recipe.model import Text
from mlxforge.recipe.schema import load_schema

if TYPE_CHECKING:
    from tests.recipe.conftest import Project

SOURCE = "source: {path: m}\n"
WIKITEXT = Text(dataset="Salesforce/wikitext", config="wikitext-2-raw-v1", split="train")


def test_a_method_has_the_schemas_defaults(project: Project) -> None:
    quantize = project.recipe(SOURCE + "quantize: {method: gptq, refine: dwq}").quantize
    assert quantize.gptq == Gptq(block_size=128, damping=0.03, act_order=True)
    keys = load_schema()["properties"]["quantize"]["properties"]["dwq"]["properties"]
    assert quantize.dwq == Dwq(**{key: value["default"] for key, value in keys.items()})
    assert quantize.awq is None and quantize.dynamic is None


def test_what_is_said_of_a_method_is_taken(project: Project) -> None:
    text = SOURCE + "quantize:\n  method: awq\n  awq: {grid: 5, clip: false}"
    assert project.recipe(text).quantize.awq == Awq(grid=5, clip=False)


def test_dynamic_brings_the_section_of_what_fills_its_widths(project: Project) -> None:
    text = """\
quantize:
  method: dynamic
  dynamic: {target_bits_per_weight: 5, max_bits: 6, method: gptq}
  gptq: {damping: 1}
"""
    quantize = project.recipe(SOURCE + text).quantize
    assert quantize.dynamic == Dynamic(5.0, 2, 6, "gptq")
    assert quantize.gptq == Gptq(128, 1.0, True)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{bits: 4, gptq: {damping: 1}}", "gptq has no place with method rtn"),
        ("{method: gptq, awq: {grid: 2}}", "awq has no place with method gptq"),
        ("{method: gptq, dwq: {norms: true}}", "dwq has no place with method gptq"),
        ("{method: none, gptq: {damping: 1}}", "gptq has no place with method none"),
        ("{method: gptq, awq: {grid: 2}}", "write prepare: awq, or leave it out"),
        ("{method: dwq, refine: dwq}", "method dwq needs no refine: dwq"),
        ("{prepare: awq}", "prepare has no place with method rtn, only before gptq\n  use method"),
        ("{method: rtn, awq: {grid: 3}, dynamic: {method: gptq}}", "\n  leave it out"),
        ("{method: awq, prepare: awq}", "prepare has no place with method awq"),
        ("{method: none, prepare: awq}", "prepare has no place with method none"),
        ("{method: dynamic, prepare: awq}", "dynamic.method is rtn\n  say dynamic: {method: gptq}"),
        ("{method: gptq, scales: minmax}", "scales cannot be minmax with gptq, which searches"),
        ("{method: awq, scales: minmax}", "leave scales out, or say awq: {clip: false}"),
        ("{method: dynamic, bits: 4}", "bits has no place with method dynamic"),
        ("{method: dynamic, gptq: {damping: 1}}", "gptq has no place with method dynamic"),
        ("{method: dynamic, dynamic: {min_bits: 5, max_bits: 4}}", "min_bits is 5, and max_bits 4"),
        ("{method: gptq, gptq: {damping: -1}}", "damping"),
        ("{method: dwq, dwq: {learning_rate: 0}}", "learning_rate"),
        ("{method: awq, awq: {grid: 1}}", "quantize.awq.grid cannot be 1"),
    ],
)
def test_what_means_nothing_is_refused_where_it_stands(
    project: Project, section: str, message: str
) -> None:
    said = project.error(SOURCE + f"quantize: {section}")
    assert said.startswith("recipes/mine.yaml:2:")
    assert message in said


@pytest.mark.parametrize("section", ["{method: gptq}", "{method: dynamic}", "{refine: dwq}"])
def test_a_method_that_learns_has_a_text_where_none_is_named(
    project: Project, section: str
) -> None:
    calibrate = project.recipe(SOURCE + f"quantize: {section}").calibrate
    assert calibrate is not None and calibrate.text == WIKITEXT
    assert (calibrate.samples, calibrate.sequence_length) == (128, 512)


def test_its_own_text_stays(project: Project) -> None:
    text = SOURCE + "quantize: {method: gptq}\ncalibrate: {text: {path: mine.txt}, samples: 3}"
    calibrate = project.recipe(text).calibrate
    assert calibrate is not None and calibrate.samples == 3
    assert calibrate.text and calibrate.text.path and calibrate.text.path.name == "mine.txt"


def test_recipes_without_a_method_that_learns_are_as_before(project: Project) -> None:
    recipe = project.recipe(SOURCE + "quantize: {scales: search}")
    assert recipe.calibrate is None
    assert not {"gptq", "awq", "dwq", "dynamic"} & recipe.document["quantize"].keys()


def test_one_and_one_point_zero_are_one_recipe(project: Project, tmp_path: Path) -> None:
    text = SOURCE + "quantize: {method: gptq, gptq: {damping: 1}}"
    documents = [project.recipe(t).document for t in (text, text.replace("1}", "1.0}"))]
    assert documents[0] == documents[1]
    assert isinstance(documents[0]["quantize"]["gptq"]["damping"], float)


def test_sections_are_in_use_by_method_and_what_is_done_before_and_after() -> None:
    both = {"method": "dynamic", "prepare": "none", "refine": "dwq", "dynamic": {"method": "awq"}}
    assert sections_in_use(both) == ("awq", "dwq", "dynamic")
    prepared = {"method": "gptq", "prepare": "awq", "refine": "none"}
    assert sections_in_use(prepared) == ("gptq", "awq")


def test_awq_prepares_for_gptq_with_settings_of_its_own(project: Project) -> None:
    section = "quantize: {method: dynamic, prepare: awq, dynamic: {method: gptq}, awq: {grid: 5}}"
    quantize = project.recipe(SOURCE + section).quantize
    assert quantize.moves_scales and quantize.awq == Awq(5, True)
    plain = project.recipe(SOURCE + "quantize: {method: gptq}")
    assert not plain.quantize.moves_scales
    assert "prepare" not in plain.document["quantize"]  # widths are locked for documents
