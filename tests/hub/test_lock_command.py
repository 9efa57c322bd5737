"""`doit lock`: what is pinned, what has moved, and what a build says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxforge.lock import read_lock
from tests.conftest import Workspace
from tests.hub.server import Hub
from tests.hub.test_hub_source import REPO, bytes_of, lock_of, recipe

pytestmark = pytest.mark.usefixtures("hub")


def said(workspace: Workspace, *words: str, status: int = 0) -> str:
    done = workspace.doit("lock", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_a_lock_is_made_without_weights(
    hub: Hub,
    workspace: Workspace,
    model: dict[str, bytes],
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    assert said(workspace, "tiny", "--check", status=1).startswith("tiny: not locked")
    assert said(workspace, "tiny") == "tiny: wrote tiny.lock\n"
    assert set(hub.downloads()) == {"config.json"}
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock and lock.recipe and {"mlx", "mlx-lm"} <= lock.tools.keys() and not lock.models

    hub.requests.clear()
    assert said(workspace, "tiny") == "tiny: tiny.lock holds\n"
    assert hub.requests == []


def test_check_tells_each_fact_that_moved_and_upgrade_moves_it(
    hub: Hub,
    workspace: Workspace,
    model: dict[str, bytes],
) -> None:
    first = hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"
    before = lock_of(workspace).read_bytes()

    second = hub.commit(REPO, model | {"LICENSE": b"free"})
    told = said(workspace, "tiny", "--check", status=1)
    assert f"  source.commit: {first[:12]} -> {second[:12]}\n" in told
    assert "  source.files.LICENSE: (nothing) -> " in told
    assert lock_of(workspace).read_bytes() == before
    workspace.build("tiny")
    assert lock_of(workspace).read_bytes() == before  # a build moves nothing

    assert "LICENSE" in said(workspace, "tiny", "--upgrade")
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"
    workspace.build("tiny")
    assert bytes_of(workspace)["LICENSE"] == b"free"


def test_the_first_build_pins_the_model_and_another_clone_makes_the_same(
    hub: Hub,
    workspace: Workspace,
    tmp_path: Path,
    model: dict[str, bytes],
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    told = workspace.build("tiny")
    assert "  locked      tiny.lock: model " in told
    (artifact,) = workspace.artifacts("quantize")
    lock = read_lock(lock_of(workspace), workspace.root)
    digest = json.loads((artifact / "manifest.json").read_text())["digest"]
    assert lock and lock.models["cpu"].digest == digest
    assert "model.layers.0.mlp.up_proj.scales" in lock.models["cpu"].tensors
    assert "locked" not in workspace.build("tiny")

    clone = Workspace(tmp_path / "clone")
    shutil.copytree(workspace.root / "recipes", clone.root / "recipes", dirs_exist_ok=True)
    before = lock_of(clone).read_bytes()
    clone.build("tiny")
    assert lock_of(clone).read_bytes() == before


def test_a_build_that_gives_another_model_says_which_tensors_and_why(
    hub: Hub,
    workspace: Workspace,
    model: dict[str, bytes],
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    path = lock_of(workspace)
    lock = read_lock(path, workspace.root)
    assert lock
    mine = lock.models["cpu"]
    name = "model.norm.weight"
    text = path.read_text().replace(mine.digest, "0" * 64)
    path.write_text(text.replace(f"{mine.tensors[name]} {name}", f"{'0' * 16} {name}"))
    told = workspace.refused("build", "tiny")
    assert "this is not the model in tiny.lock: 1 of " in told and f"({name})" in told
    assert "recipe, source and tools are the same" in told
    assert "`doit lock --upgrade tiny` accepts the new one" in told

    path.write_text(path.read_text().replace(lock.tools["mlx"], "0.1.0"))
    told = workspace.refused("build", "tiny")
    assert f"tools.mlx: 0.1.0 -> {lock.tools['mlx']}" in told
    assert "tools.mlx: 0.1.0" in said(workspace, "tiny", status=1)

    said(workspace, "tiny", "--upgrade")
    workspace.build("tiny")
    assert read_lock(path, workspace.root) == lock


def test_a_recipe_that_was_changed_pins_its_new_model_and_says_so(
    hub: Hub,
    workspace: Workspace,
    model: dict[str, bytes],
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    before = read_lock(lock_of(workspace), workspace.root)
    workspace.recipe("tiny", recipe(bits=8))
    assert "  recipe: " in said(workspace, "tiny", status=1)
    assert ", the recipe has changed" in workspace.build("tiny")
    after = read_lock(lock_of(workspace), workspace.root)
    assert before and after and before.source == after.source
    assert before.models["cpu"].digest != after.models["cpu"].digest
    assert said(workspace, "tiny") == "tiny: tiny.lock holds\n"


def test_a_local_source_is_locked_only_where_one_asks_for_it(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    workspace.build("tiny")
    assert not lock_of(workspace).exists()
    assert said(workspace, "tiny") == "tiny: wrote tiny.lock\n"
    assert "  locked      tiny.lock: model " in workspace.build("tiny")
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock and lock.source is None and lock.models


def test_check_and_upgrade_exclude_each_other(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    assert "one of the two" in workspace.refused("lock", "tiny", "--check", "--upgrade")


def test_a_changed_score_moves_no_guard(
    hub: Hub,
    workspace: Workspace,
    model: dict[str, bytes],
) -> None:
    """What the recipe says of the score is locked anew; the model must still be the same."""
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    before = read_lock(lock_of(workspace), workspace.root)
    workspace.recipe("tiny", recipe() + "evaluate: {prompts: [hello], max_tokens: 1}\n")
    assert ", the recipe has changed" in workspace.build("tiny")
    after = read_lock(lock_of(workspace), workspace.root)
    assert before and after and before.recipe != after.recipe and before.models == after.models
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"

    digest = after.models["cpu"].digest
    lock_of(workspace).write_text(lock_of(workspace).read_text().replace(digest, "0" * 64))
    workspace.recipe("tiny", recipe())  # and the score's part changes once more
    assert "this is not the model in tiny.lock" in workspace.refused("build", "tiny")
