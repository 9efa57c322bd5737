"""What a user gets from `doit build`, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DEMO, DOIT, Workspace

SCORED = """\
source: {{path: {source}}}
quantize: {{bits: {bits}}}
evaluate:
  text: {{path: {text}}}
  samples: 2
  sequence_length: 64
  prompts: ["What is three plus four?"]
  max_tokens: 4
"""


def scored(source: Path, bits: int = 4, extra: str = "") -> str:
    return SCORED.format(source=source, bits=bits, text=DEMO / "heldout.txt") + extra


def digests(workspace: Workspace, kind: str) -> list[str]:
    return [
        json.loads((folder / "manifest.json").read_text())["digest"]
        for folder in workspace.artifacts(kind)
    ]


def keys(workspace: Workspace) -> dict[str, set[str]]:
    kinds = ("inspect", "quantize", "baseline", "evaluate")
    return {kind: {folder.name for folder in workspace.artifacts(kind)} for kind in kinds}


@pytest.fixture
def source(tiny: Callable[..., Path]) -> Path:
    return tiny()


def test_a_build_ends_with_what_was_made(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", scored(source))
    told = workspace.build("tiny")
    for words in (
        "model       cache/models/tiny",
        "4.5",
        "bits per weight",
        "heldout.txt, 2 windows of 64 tokens (",
        "perplexity",
        "source",
        "nats mean",
        "agree with the source",
        "What is three plus four?",
        "mlx_lm.generate --model cache/models/tiny",
    ):
        assert words in told
    assert (workspace.cache / "models" / "tiny" / "config.json").is_file()


def test_the_finished_model_loads_in_mlx_lm_and_generates(
    workspace: Workspace, source: Path
) -> None:
    from mlx_lm import generate, load

    workspace.recipe("tiny", f"source: {{path: {source}}}")
    workspace.build("tiny")
    model, tokenizer = load(str(workspace.cache / "models" / "tiny"))
    assert isinstance(generate(model, tokenizer, "hello", max_tokens=3), str)


def test_a_recipe_without_evaluate_says_that_it_was_not_scored(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("tiny", f"source: {{path: {source}}}")
    assert "not scored: no `evaluate` in the recipe" in workspace.build("tiny")


def test_a_second_build_runs_nothing(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", scored(source))
    first = workspace.build("tiny")
    before = {path: path.stat().st_mtime_ns for path in workspace.cache.glob("artifacts/*/*")}
    done = workspace.doit("build", "tiny")
    assert done.stdout == first
    assert " done in " not in done.stderr
    after = {path: path.stat().st_mtime_ns for path in workspace.cache.glob("artifacts/*/*")}
    assert after == before


def test_bits_rebuild_quantize_and_evaluate_and_reverting_finds_the_old(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("tiny", scored(source, 4))
    workspace.build("tiny")
    four = keys(workspace)
    workspace.recipe("tiny", scored(source, 8))
    workspace.build("tiny")
    both = keys(workspace)
    assert both["baseline"] == four["baseline"] and both["inspect"] == four["inspect"]
    assert len(both["quantize"]) == len(both["evaluate"]) == 2
    workspace.recipe("tiny", scored(source, 4))
    assert " done in " not in workspace.doit("build", "tiny").stderr
    assert keys(workspace) == both
    linked = (workspace.cache / "models" / "tiny").resolve().parent.name
    assert {linked} == four["quantize"]


@pytest.mark.parametrize(
    "extra", ["# a comment\n", "upload: {repo: acme/tiny-4bit}\n"], ids=["comment", "upload"]
)
def test_what_changes_no_byte_rebuilds_nothing(
    workspace: Workspace, source: Path, extra: str
) -> None:
    workspace.recipe("tiny", scored(source))
    workspace.build("tiny")
    before = keys(workspace)
    workspace.recipe("tiny", scored(source, extra=extra))
    assert " done in " not in workspace.doit("build", "tiny").stderr
    assert keys(workspace) == before


def test_recipes_of_one_source_share_its_baseline(workspace: Workspace, source: Path) -> None:
    workspace.recipe("four", scored(source, 4))
    workspace.recipe("eight", scored(source, 8))
    workspace.build("*")
    assert {kind: len(found) for kind, found in keys(workspace).items()} == {
        "inspect": 1,
        "quantize": 2,
        "baseline": 1,
        "evaluate": 2,
    }


def test_two_clones_and_two_processes_give_the_same_bytes(tmp_path: Path, source: Path) -> None:
    found = []
    for name, words in (("one", ["build"]), ("two", ["-n", "2", "build"])):
        clone = Workspace(tmp_path / name)
        copy = shutil.copytree(source, clone.root / "model")
        clone.recipe("four", scored(copy, 4))
        clone.recipe("three", scored(copy, 3))
        done = clone.doit(*words, "four", "three")
        assert done.returncode == 0, done.stderr
        kinds = ("inspect", "quantize", "baseline", "evaluate")
        found.append({kind: digests(clone, kind) for kind in kinds})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "words",
    [
        ["build", "one", "two"],
        ["build", "-n", "2", "one", "two"],
        ["build", "one", "two", "-n", "2"],
        ["build", "one", "--continue", "two"],
        ["-n", "2", "build", "one", "two"],
        ["build", "[ot]*"],
        ["one", "two"],
    ],
    ids=" ".join,
)
def test_names_globs_and_flags_go_in_any_order(
    workspace: Workspace, source: Path, words: list[str]
) -> None:
    for name, bits in (("one", 4), ("two", 8)):
        workspace.recipe(name, f"source: {{path: {source}}}\nquantize: {{bits: {bits}}}")
    done = workspace.doit(*words)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (workspace.cache / "models").iterdir()} == {"one", "two"}


def test_it_works_from_any_folder_of_the_project(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", f"source: {{path: {source}}}")
    done = workspace.doit("build", "tiny", cwd=workspace.root / "recipes")
    assert done.returncode == 0, done.stderr
    assert "model       ../cache/models/tiny" in done.stdout


def test_a_wrong_name_gets_the_closest_one(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny-4bit", f"source: {{path: {source}}}")
    assert "did you mean 'tiny-4bit'?" in workspace.refused("build", "tiny-4bits")
    assert not workspace.cache.exists()


def test_without_continue_the_first_failure_stops_and_with_it_the_rest_is_built(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("bad", f"source: {{path: {source}}}\nquantize:\n  overrides:\n"
                     "    - {layers: experts, bits: 8}\n")  # fmt: skip
    workspace.recipe("good", f"source: {{path: {source}}}")
    assert "recipes/bad.yaml:4:" in workspace.refused("build", "bad", "good")
    assert not (workspace.cache / "models" / "good").exists()
    done = workspace.doit("build", "bad", "good", "--continue")
    assert done.returncode != 0 and "override 'experts' matches no layer" in done.stderr
    assert (workspace.cache / "models" / "good").exists()


def test_a_gate_that_is_missed_fails_the_build_and_keeps_the_model(
    workspace: Workspace, source: Path
) -> None:
    gate = "  require: {perplexity_increase: -0%, kl_divergence: 0.0000001}\n"
    workspace.recipe("tiny", scored(source, 2, gate.replace("-0%", "0.001%")))
    told = workspace.refused("build", "tiny")
    assert "recipes/tiny.yaml:9:" in told
    assert "kl_divergence is " in told and "required at most 0.0000001" in told
    assert len(keys(workspace)["quantize"]) == 1
    kept = Path(told.split("the model stays for inspection: ")[1].splitlines()[0])
    assert (kept / "model.safetensors").is_file()
    assert not (workspace.cache / "models" / "tiny").exists()


def test_two_builds_at_once_share_the_work(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", scored(source))
    words = [str(DOIT), "build", "tiny"]
    both = [
        subprocess.Popen(
            words, cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert "another build is making it, waiting" in told[0][1] + told[1][1]
    assert {kind: len(found) for kind, found in keys(workspace).items()} == dict.fromkeys(
        ("inspect", "quantize", "baseline", "evaluate"), 1
    )
    assert list((workspace.cache / "staging").iterdir()) == []


def test_the_database_of_doit_does_not_matter(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", scored(source))
    workspace.build("tiny")
    for path in workspace.root.glob(".doit.db*"):
        path.unlink()
    assert " done in " not in workspace.doit("build", "tiny").stderr


def test_the_source_is_neither_copied_nor_changed(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.iterdir()}
    os.chmod(source, 0o555)
    workspace.recipe("tiny", scored(source))
    workspace.build("tiny")
    os.chmod(source, 0o755)
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.iterdir()}
    assert after == before
    sizes = [path.stat().st_size for path in workspace.cache.rglob("model*.safetensors")]
    assert max(sizes) < (source / "model.safetensors").stat().st_size


def test_a_source_that_changed_is_built_anew(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    workspace.recipe("tiny", f"source: {{path: {source}}}")
    workspace.build("tiny")
    shutil.copy(tiny(seed=9) / "model.safetensors", source / "model.safetensors")
    assert "quantize tiny done in" in workspace.doit("build", "tiny").stderr
    assert len(keys(workspace)["quantize"]) == 2
