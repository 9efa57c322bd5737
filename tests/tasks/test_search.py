"""`scales: search` and `method: gptq` by the real command: nearer at the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import DEMO, Workspace

EVALUATE = f"""\
evaluate:
  text: {{path: {DEMO / "heldout.txt"}}}
  samples: 6
  sequence_length: 128
"""


def recipe(words: str, text: Path | None = None, score: str = EVALUATE) -> str:
    """A recipe at 3 bit, the `words` beside them in its `quantize`."""
    learn = "" if text is None else f"""\
calibrate:
  text: {{path: {text}}}
  overlap: flag
  samples: 40
  sequence_length: 64
"""  # fmt: skip
    source = f"source: {{path: {DEMO / 'model'}}}\n"
    return f"{source}quantize: {{bits: 3, {words}}}\n{learn}{score}"


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    """Another part of the demo's language than what is scored."""
    lines = (DEMO / "heldout.txt").read_text().splitlines()
    path = tmp_path / "lessons.txt"
    path.write_text("\n".join(lines[len(lines) // 2 :]))
    return path


def told(workspace: Workspace, name: str) -> tuple[str, float]:
    """What the build says of the model's size, and its divergence from the source."""
    printed = workspace.build(name)
    size = re.search(r"size +(.*)", printed)
    divergence = re.search(r"KL +(\S+) nats mean", printed)
    assert size and divergence
    return size[1], float(divergence[1])


def test_searched_scales_are_nearer_to_the_source_at_the_same_bytes(
    workspace: Workspace, lessons: Path
) -> None:
    workspace.recipe("plain", recipe("scales: minmax"))
    workspace.recipe("searched", recipe("scales: search"))
    workspace.recipe("taught", recipe("scales: search", lessons))
    workspace.recipe("solved", recipe("method: gptq", lessons))
    found = [told(workspace, name) for name in ("solved", "taught", "searched", "plain")]
    assert len({size for size, _ in found}) == 1
    *nearer, plain = (divergence for _, divergence in found)
    assert max(nearer) < 0.75 * plain
    told_by = {json.loads((made / "manifest.json").read_bytes())["recipe"]["inputs"].get("text")
               for made in workspace.artifacts("calibrate")}  # fmt: skip
    assert len(told_by) == 2 and None in told_by


def test_a_plan_tells_which_layers_awq_scales_and_a_build_refines_what_it_made(
    workspace: Workspace, lessons: Path
) -> None:
    text = recipe("method: awq", lessons).replace(
        "method: awq", "method: awq, refine: dwq, dwq: {iterations: 12}"
    )
    workspace.recipe("scaled", text)
    plan = workspace.doit("plan", "scaled").stdout
    assert re.search(r"scales move +3 x +model.layers.\*.post_attention_layernorm", plan)
    assert re.search(r"no pair +1 x +model.norm: model.embed_tokens", plan)
    assert "quantize before dwq" in plan
    _, divergence = told(workspace, "scaled")
    workspace.recipe("plain", recipe("scales: minmax"))
    assert divergence < 0.75 * told(workspace, "plain")[1]


def test_awq_prepares_once_for_itself_and_for_gptq(workspace: Workspace, lessons: Path) -> None:
    text = recipe("method: gptq", lessons, score="")
    workspace.recipe("solved", text.replace("method: gptq", "method: gptq, prepare: awq"))
    workspace.recipe("scaled", recipe("method: awq", lessons, score=""))
    plan = workspace.doit("plan", "solved").stdout
    steps = re.findall(r"^  (\w+) +[0-9a-f]{12}", plan, re.M)
    assert {*steps[:-3]} == {"inspect", "pairs", "calibrate", "heads"}
    assert steps[-3:] == ["awq", "gptq", "quantize"]
    assert re.search(r"scales move +3 x +model.layers.\*.post_attention_layernorm", plan)
    assert re.search(r"quantize.prepare +\"awq\"", workspace.doit("show", "solved").stdout)
    workspace.build("solved", "scaled")
    assert len(workspace.artifacts("awq")) == len(workspace.artifacts("gptq")) == 1
    assert len(workspace.artifacts("quantize")) == 2


def test_recipes_that_differ_in_bits_share_what_was_learned(
    workspace: Workspace, lessons: Path
) -> None:
    three = recipe("scales: search", lessons, score="")
    workspace.recipe("three", three)
    workspace.recipe("four", three.replace("bits: 3", "bits: 4"))
    workspace.build("three", "four")
    assert len(workspace.artifacts("calibrate")) == 1
    assert len(workspace.artifacts("heads")) == len(workspace.artifacts("quantize")) == 2


def test_a_text_that_nothing_learns_from_changes_no_model(
    workspace: Workspace, lessons: Path
) -> None:
    workspace.recipe("plain", recipe("scales: minmax", score=""))
    workspace.recipe("same", recipe("scales: minmax", lessons, score=""))
    workspace.build("plain", "same")
    assert len(workspace.artifacts("quantize")) == 1
    assert workspace.artifacts("calibrate") == []


def test_modes_whose_scales_are_given_have_nothing_to_search(workspace: Workspace) -> None:
    text = recipe("scales: search").replace("{bits: 3, ", "{mode: mxfp4, ")
    workspace.recipe("none", text)
    said = workspace.refused("plan", "none")
    assert "recipes/none.yaml:2:" in said
    assert "scales: search has nothing to search in mode mxfp4" in said


def test_a_method_that_learns_has_a_text_where_the_recipe_names_none(workspace: Workspace) -> None:
    workspace.recipe("untaught", recipe("method: gptq"))
    assert "data set Salesforce/wikitext" in workspace.doit("plan", "untaught").stdout
    shown = workspace.doit("show", "untaught").stdout
    assert "wikitext-2-raw-v1" in shown and "damping" in shown and "iterations" not in shown


def test_too_little_text_is_refused_with_what_it_gives(workspace: Workspace) -> None:
    workspace.recipe("short", recipe("scales: search", DEMO / "README.md"))
    said = workspace.refused("build", "short")
    assert "recipes/short.yaml:6:12: " in said
    assert "enough tokens for 6 x 64, not for 40 x 64" in said
