"""In which order the steps of many recipes run, and what a failure stops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DEMO, Workspace

SCORED = """\
evaluate:
  text: {path: %s}
  samples: 1
  sequence_length: 32
""" % (DEMO / "heldout.txt")


@pytest.fixture
def sources(tiny: Callable[..., Path]) -> tuple[Path, Path]:
    return tiny(), tiny(seed=5)


def recipe(source: Path, bits: int, scored: str = SCORED) -> str:
    return f"source: {{path: {source}}}\nquantize: {{bits: {bits}}}\n{scored}"


def done(told: str) -> list[str]:
    """``KIND NAME`` of the steps, in the order in which they ended."""
    return [line.split(" done in ")[0] for line in told.splitlines() if " done in " in line]


def test_the_steps_of_one_source_run_one_right_after_the_other(
    workspace: Workspace, sources: tuple[Path, Path]
) -> None:
    one, other = sources
    workspace.recipe("a", recipe(one, 4))
    workspace.recipe("b", recipe(other, 4))
    workspace.recipe("c", recipe(one, 8))
    workspace.recipe("d", recipe(other, 8, scored=""))
    built = workspace.doit("build", "a", "b", "c", "d")
    assert built.returncode == 0, built.stderr
    assert done(built.stderr) == [
        *("quantize a", "quantize c", "quantize b", "quantize d"),
        *("baseline a", "evaluate a", "evaluate c", "baseline b", "evaluate b"),
    ]
    told = [line for line in built.stdout.splitlines() if line in ("a", "b", "c", "d")]
    assert told == ["a", "b", "c", "d"]
    models = workspace.cache / "models"
    assert {path.name for path in models.iterdir()} == {"a", "b", "c", "d"}


def test_one_recipe_is_built_from_its_source_to_its_score(
    workspace: Workspace, sources: tuple[Path, Path]
) -> None:
    workspace.recipe("a", recipe(sources[0], 4))
    told = workspace.doit("build", "a").stderr
    assert done(told) == ["quantize a", "baseline a", "evaluate a"]


def test_a_model_that_was_removed_is_made_again_though_its_score_is_there(
    workspace: Workspace, sources: tuple[Path, Path]
) -> None:
    workspace.recipe("a", recipe(sources[0], 4))
    first = workspace.build("a")
    (model,) = workspace.artifacts("quantize")
    shutil.rmtree(model)
    again = workspace.doit("build", "a")
    assert done(again.stderr) == ["quantize a"]
    assert again.stdout == first and model.exists()


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["serial", "parallel"])
def test_a_failure_stops_what_was_asked_for_later_and_nothing_before_it(
    workspace: Workspace, sources: tuple[Path, Path], words: tuple[str, ...]
) -> None:
    one, other = sources
    broken = shutil.copytree(other, workspace.root / "broken")
    (broken / "tokenizer.json").write_text("{")
    workspace.recipe("a", recipe(one, 4))
    workspace.recipe("b", recipe(broken, 4))
    workspace.recipe("c", recipe(one, 8))
    built = workspace.doit("build", *words, "a", "b", "c")
    assert built.returncode == 1
    assert "baseline b FAILED" in built.stderr and "Traceback" not in built.stderr
    assert "a" in built.stdout.splitlines()
    assert (workspace.cache / "models" / "a").exists()
    assert not (workspace.cache / "models" / "b").exists()
    on = workspace.doit("build", *words, "--continue", "a", "b", "c")
    assert on.returncode == 1 and (workspace.cache / "models" / "c").exists()


def test_a_gate_that_is_missed_stops_only_what_was_asked_for_later(
    workspace: Workspace, sources: tuple[Path, Path]
) -> None:
    gated = recipe(sources[0], 2) + "  require: {kl_divergence: 0}\n"
    workspace.recipe("b", gated)
    for name, bits in (("a", 4), ("c", 8)):
        workspace.recipe(name, recipe(sources[0], bits, scored=""))
    for _ in ("as a step's end", "with every step done"):
        built = workspace.doit("build", "a", "b", "c")
        assert built.returncode == 1 and "kl_divergence is " in built.stderr
        assert {path.name for path in (workspace.cache / "models").iterdir()} <= {"a", "c"}
        assert (workspace.cache / "models" / "a").exists()
