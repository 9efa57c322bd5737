"""list, show, plan, verify and gc, through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxforge.store.hashes import sha256_of
from tests.conftest import DEMO, DOIT, Workspace


@pytest.fixture
def source(tiny: Callable[..., Path]) -> Path:
    return tiny(tied=False)


def plain(source: Path, bits: int = 4) -> str:
    return f"source:\n  path: {source}\nquantize:\n  bits: {bits}\n"


def row(workspace: Workspace, name: str) -> list[str]:
    listed = workspace.doit("list")
    assert listed.returncode == 0, listed.stderr
    return next(line for line in listed.stdout.splitlines() if line.startswith(f"{name} ")).split()


def test_list_tells_missing_built_and_stale_apart(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    assert row(workspace, "tiny")[1] == "missing"
    workspace.build("tiny")
    made = json.loads((workspace.cache / "models" / "tiny" / "mlxforge.json").read_text())
    size, bits = f"{made['bytes'] / 1000:.1f}", f"{made['bits_per_weight']:.2f}"
    assert row(workspace, "tiny")[1:5] == ["built", size, "kB", bits]
    workspace.recipe("tiny", plain(source, 8))
    assert row(workspace, "tiny")[1] == "stale"


def test_list_shows_what_cannot_be_read_and_goes_on(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    workspace.recipe("broken", "source: {path: x}\nbits: 4\n")
    listed = workspace.doit("list").stdout
    assert "tiny" in listed
    assert "error: recipes/broken.yaml:2:1: unknown key 'bits'" in listed


def test_list_shows_hub_recipes_without_asking_the_hub(workspace: Workspace) -> None:
    workspace.recipe("phi", "source: {repo: microsoft/Phi-3.5-mini-instruct}\n")
    assert row(workspace, "phi") == ["phi", "not", "locked", "microsoft/Phi-3.5-mini-instruct"]


def test_show_says_where_every_value_was_written(workspace: Workspace, source: Path) -> None:
    workspace.recipe("_base", f"source: {{path: {source}}}\nquantize:\n  bits: 4\n")
    workspace.recipe("tiny", "extends: _base.yaml\nquantize:\n  group_size: 32\n")
    shown = [line.split() for line in workspace.doit("show", "tiny").stdout.splitlines()]
    assert ["quantize.bits", "4", "recipes/_base.yaml:3:9"] in shown
    assert ["quantize.group_size", "32", "recipes/tiny.yaml:3:15"] in shown
    assert ["quantize.mode", '"affine"', "default"] in shown


def test_plan_says_what_would_run_and_how_large_it_will_be(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("tiny", plain(source))
    told = workspace.doit("plan", "tiny").stdout
    rows = [line.split() for line in told.splitlines()]
    assert ["quantize", "would", "run", "never", "built"] in [row[:1] + row[2:] for row in rows]
    assert "model.layers.*.self_attn.q_proj" in told
    assert "default (recipes/tiny.yaml:4:3)" in told
    workspace.build("tiny")
    made = json.loads((workspace.cache / "models" / "tiny" / "mlxforge.json").read_text())
    assert f"result: {made['bytes']:,} bytes of weights" in told
    assert f"{made['bits_per_weight']:.3f} bits per weight" in told


def test_plan_says_which_value_changed_and_by_what(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    workspace.build("tiny")
    workspace.recipe("tiny", plain(source, 8))
    told = workspace.doit("plan", "tiny").stdout
    assert "would run" in told and "bits 4 -> 8" in told


def test_plan_of_an_unlocked_hub_recipe_says_what_is_missing(workspace: Workspace) -> None:
    workspace.recipe("phi", "source:\n  repo: microsoft/Phi-3.5-mini-instruct\n")
    told = workspace.doit("plan", "phi")
    assert told.returncode == 0
    assert "would run headers, inspect, download, quantize" in told.stdout
    assert "recipes/phi.yaml:2:9: phi is not locked" in told.stdout


def test_verify_finds_a_flipped_bit(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    assert "has not been built" in workspace.refused("verify", "tiny")
    workspace.build("tiny")
    assert "tiny  quantize  ok  " in workspace.doit("verify", "tiny").stdout
    weights = workspace.cache / "models" / "tiny" / "model.safetensors"
    weights.chmod(0o644)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = workspace.doit("verify", "tiny")
    assert done.returncode == 1
    assert "model.safetensors has other bytes than were written" in done.stdout


def test_gc_is_dry_and_removes_only_what_no_recipe_needs(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("tiny", plain(source))
    workspace.build("tiny")
    assert workspace.doit("gc").stdout == "nothing to remove\n"
    workspace.recipe("tiny", plain(source, 8))
    workspace.build("tiny")
    old, new = sorted(workspace.artifacts("quantize"), key=lambda path: path.stat().st_mtime)
    assert "doit gc --delete` removes them" in workspace.doit("gc").stdout
    assert old.exists()
    assert "freed" in workspace.doit("gc", "--delete").stdout
    assert not old.exists() and new.exists()
    assert "tiny  quantize  ok" in workspace.doit("verify", "tiny").stdout


def place(
    workspace: Workspace, source: Path, section: str, kind: str, key: str
) -> tuple[str, int] | None:
    """Where the recipe is pointed at when a step tells of a key; its section begins on line 2."""
    from mlxforge.project import Project

    read = f"calibrate: {{text: {{path: {DEMO / 'heldout.txt'}}}, samples: 8}}"
    workspace.recipe("tiny", f"source: {{path: {source}}}\n{section}\n{read}\n")
    project = Project(workspace.root)
    plan = project.plan(*project.select(["tiny"]))
    plans = [plan, *([plan.later] if plan.later else [])]
    step = next(node for each in plans for node in each.nodes() if node.kind == kind)
    at = plan.position_of(step, key)
    return at and (at.file, at.line)


@pytest.mark.parametrize(
    ("key", "line"), [("scope", 3), ("method", 2), ("temperature", 4), ("samples", 4), ("text", 4)]
)
def test_a_value_that_a_step_tells_of_is_found_in_its_own_section_or_its_texts(
    key: str, line: int, workspace: Workspace, source: Path
) -> None:
    section = "quantize: {method: dwq, dwq: {batch_size: 2,\n  scope: model}}"
    assert place(workspace, source, section, "dwq", key) == ("recipes/tiny.yaml", line)


@pytest.mark.parametrize(
    ("section", "kind", "line"),
    [
        ("{method: gptq,\n  prepare: awq,\n  refine: dwq}", "dwq", 4),
        ("{method: gptq,\n  prepare: awq,\n  refine: dwq}", "awq", 3),
        ("{method: gptq,\n  prepare: awq,\n  refine: dwq}", "gptq", 2),
        ("{method: dynamic,\n  dynamic: {\n  method: gptq}}", "sensitivity", 2),
        ("{bits: 4,\n  scales: search}", "heads", 3),
    ],
)
def test_a_method_is_found_where_the_recipe_asks_for_it(
    section: str, kind: str, line: int, workspace: Workspace, source: Path
) -> None:
    found = place(workspace, source, f"quantize: {section}", kind, "method")
    assert found == ("recipes/tiny.yaml", line)


def test_gc_takes_checkpoints_of_what_is_finished_and_leaves_those_of_what_is_not(
    workspace: Workspace, source: Path
) -> None:
    from mlxforge.project import Project

    workspace.recipe("built", plain(source))
    workspace.recipe("killed", plain(source, 8))
    workspace.build("built")
    project = Project(workspace.root)
    plans = [project.plan(*project.select([name])) for name in ("built", "killed")]
    built, killed = (
        next(node.key for node in plan.nodes() if node.kind == "quantize") for plan in plans
    )
    left = workspace.cache / "checkpoints"
    for key in (built, killed):  # the first as if killed right after publishing
        (left / key).mkdir(parents=True)
        (left / key / "part").write_bytes(b"12345")
    assert f"checkpoints  {built[:12]}   5 B" in workspace.doit("gc").stdout
    assert workspace.doit("gc", "--delete").returncode == 0
    assert [path.name for path in left.iterdir()] == [killed]
    assert workspace.doit("gc").stdout == "nothing to remove\n"


def test_gc_takes_away_the_path_of_a_model_whose_recipe_is_gone(
    workspace: Workspace, source: Path
) -> None:
    workspace.recipe("kept", plain(source))
    workspace.recipe("gone", plain(source))  # the same model: its artifacts stay
    workspace.build("kept", "gone")
    (workspace.root / "recipes" / "gone.yaml").unlink()
    workspace.build("kept")
    link = workspace.cache / "models" / "gone"
    assert link.exists(), "a build takes nothing away that somebody may be using"
    assert "link      models/gone  no recipe" in workspace.doit("gc").stdout
    assert link.exists()
    assert workspace.doit("gc", "--delete").returncode == 0
    assert not link.is_symlink() and not (workspace.cache / "built" / "gone.json").exists()
    assert (workspace.cache / "models" / "kept" / "config.json").is_file()
    assert workspace.doit("gc").stdout == "nothing to remove\n"


def test_gc_does_not_run_while_a_recipe_cannot_be_read(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    workspace.build("tiny")
    workspace.recipe("broken", "source: {path: x}\nbits: 4\n")
    assert "its needs are not known" in workspace.refused("gc", "--delete")


def test_completion_offers_recipes_and_commands(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    script = workspace.doit("tabcompletion").stdout
    assert "verify" in script and "build" in script
    assert workspace.doit("list", "--quiet").stdout == "tiny\n"


def test_doits_own_projects_keep_doits_own_commands(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(
        "def task_hello():\n    return {'actions': ['echo hello-from-doit'], 'verbosity': 2}\n"
    )
    for words, says in ((["list"], "hello"), ([], "hello-from-doit"), (["run"], "hello-from-doit")):
        done = subprocess.run([str(DOIT), *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout


def test_help_explains_each_command(workspace: Workspace) -> None:
    for word in ("build", "list", "lock", "show", "plan", "verify", "gc"):
        told = workspace.doit("help", word)
        assert told.returncode == 0 and "PURPOSE" in told.stdout, word


def test_a_recipe_named_like_a_command_is_refused(workspace: Workspace, source: Path) -> None:
    workspace.recipe("build", plain(source))
    assert "build" in workspace.refused("build", "build")


def test_an_unknown_flag_is_one_line(workspace: Workspace) -> None:
    done = workspace.doit("build", "--colour")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "--colour" in done.stderr


def test_output_may_be_cut_off_by_head(workspace: Workspace, source: Path) -> None:
    for number in range(300):
        workspace.recipe(f"recipe-{number}", plain(source))
    done = subprocess.run(
        f"{DOIT} list | head -1", shell=True, cwd=workspace.root, capture_output=True, text=True,
        env=os.environ,
    )  # fmt: skip
    assert done.stderr == ""


def test_list_says_when_a_gate_is_missed_that_came_after_the_build(
    workspace: Workspace, source: Path
) -> None:
    scored = "evaluate:\n  text: {path: %s}\n  samples: 1\n  sequence_length: 32\n" % (
        DEMO / "heldout.txt"
    )
    workspace.recipe("tiny", plain(source) + scored)
    workspace.build("tiny")
    assert row(workspace, "tiny")[1] == "built"
    workspace.recipe("tiny", plain(source) + scored + "  require: {kl_divergence: 0}\n")
    assert row(workspace, "tiny")[1:3] == ["gate", "missed"]


def test_gc_waits_for_no_build_and_removes_nothing_under_one(
    workspace: Workspace, source: Path
) -> None:
    from mlxforge.store.store import Store

    workspace.recipe("tiny", plain(source))
    workspace.build("tiny")
    workspace.recipe("tiny", plain(source, 8))
    workspace.build("tiny")
    with Store(workspace.cache).in_use():
        assert "a build is running" in workspace.refused("gc", "--delete")
    assert len(workspace.artifacts("quantize")) == 2


def test_verify_sees_a_manifest_that_was_made_to_fit(workspace: Workspace, source: Path) -> None:
    workspace.recipe("tiny", plain(source))
    workspace.build("tiny")
    folder = workspace.artifacts("quantize")[0]
    config = folder / "data" / "config.json"
    config.chmod(0o644)
    config.write_text("{}")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["config.json"] = {"size": 2, "sha256": sha256_of(config)}
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    done = workspace.doit("verify", "tiny")
    assert done.returncode == 1 and "its digest is not that of its files" in done.stdout


def test_a_project_where_mlx_lm_could_read_no_model_is_refused(
    tmp_path: Path, source: Path
) -> None:
    workspace = Workspace(tmp_path / "q[4]")
    workspace.recipe("tiny", plain(source))
    assert "has one of [ ] * ? in its path" in workspace.refused("build", "tiny")


def test_a_word_about_us_does_not_make_a_project_ours(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(
        "# see also mlxforge\ndef task_hello():\n    return {'actions': ['echo hello']}\n"
    )
    done = subprocess.run([str(DOIT), "list"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "hello" in done.stdout
