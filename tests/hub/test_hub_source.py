"""Building from a repository on the Hub: the real client against a small real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxforge.lock import Lock, LockedSource, read_lock, write_lock
from tests.conftest import DOIT, Workspace
from tests.faults.builds import marked, wait_for
from tests.hub.server import TOKEN, Hub

REPO = "acme/tiny"


def recipe(revision: str = "main", bits: int = 4) -> str:
    source = f"source: {{repo: {REPO}, revision: '{revision}'}}"
    return f"{source}\nquantize: {{bits: {bits}}}\n"


def lock_of(workspace: Workspace) -> Path:
    return workspace.root / "recipes" / "tiny.lock"


def source_of(workspace: Workspace) -> LockedSource:
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock is not None and lock.source is not None
    return lock.source


def bytes_of(workspace: Workspace, name: str = "tiny") -> dict[str, bytes]:
    folder = workspace.cache / "models" / name
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "mlxforge.json"
    }


def digest_of(workspace: Workspace) -> str:
    (artifact,) = workspace.artifacts("quantize")
    return str(json.loads((artifact / "manifest.json").read_text())["digest"])


def inspected(workspace: Workspace) -> None:
    """Locks the recipe and reads its headers, so that a build begins with the download."""
    for words in (("lock", "tiny"), ("plan", "tiny")):
        done = workspace.doit(*words)
        assert done.returncode == 0, done.stderr


def empty_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    monkeypatch.setenv("HF_HOME", str(folder))
    return folder


def test_the_first_build_locks_the_recipe_and_gives_the_bytes_of_a_local_build(
    hub: Hub, workspace: Workspace, tiny: Callable[..., Path], model: dict[str, bytes]
) -> None:
    commit = hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.recipe("local", f"source: {{path: {tiny()}}}")
    done = workspace.doit("build", "tiny", "local")
    assert done.returncode == 0, done.stderr
    assert "locked tiny: wrote tiny.lock" in done.stderr
    (download,) = [line for line in done.stderr.splitlines() if "download tiny done" in line]
    assert download.endswith("B/s")
    lock = source_of(workspace)
    assert (lock.repo, lock.revision, lock.commit) == (REPO, "main", commit)
    assert {name: fact["size"] for name, fact in lock.files.items()} == {
        name: len(content) for name, content in model.items()
    }
    assert "sha256" in lock.files["model.safetensors"]
    assert "git_sha1" in lock.files["config.json"]
    assert bytes_of(workspace) == bytes_of(workspace, "local")


def test_recipes_of_one_source_are_locked_to_one_commit_by_one_question(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    for name, bits in (("four", 4), ("eight", 8)):
        workspace.recipe(name, recipe(bits=bits))
    workspace.build("four", "eight")
    assert hub.requests.count(f"GET /api/models/{REPO}/revision/main") == 1
    locks = [
        read_lock(workspace.root / "recipes" / f"{name}.lock", workspace.root)
        for name in ("four", "eight")
    ]
    assert locks[0] and locks[1] and locks[0].source == locks[1].source is not None


def test_a_second_build_and_other_bits_ask_nothing_online_or_offline(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    hub.requests.clear()
    for offline in ("0", "1"):
        done = workspace.doit("build", "tiny", HF_HUB_OFFLINE=offline)
        assert done.returncode == 0 and " done in " not in done.stderr
    workspace.recipe("tiny", recipe(bits=8))
    assert workspace.doit("build", "tiny", HF_HUB_OFFLINE="1").returncode == 0
    assert hub.requests == []


def test_a_clone_builds_the_locked_commit_after_the_branch_has_moved_on(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    locked = lock_of(workspace).read_bytes()
    weights = (tiny(seed=7) / "model.safetensors").read_bytes()
    moved = {"model.safetensors": weights, "generation_config.json": b'{"eos_token_id": 5}'}
    hub.commit(REPO, model | moved)
    empty_cache(monkeypatch, tmp_path / "another-cache")
    clone = Workspace(tmp_path / "clone")
    clone.recipe("tiny", recipe())
    lock_of(clone).write_bytes(locked)
    clone.build("tiny")
    assert hub.downloads().count("model.safetensors") == 4  # header and file, in both places
    assert digest_of(clone) == digest_of(workspace)
    assert bytes_of(clone) == bytes_of(workspace)
    assert lock_of(clone).read_bytes() == locked


@pytest.mark.parametrize("name", ["commit", "v1.0/final"])
def test_the_revision_may_be_a_commit_or_a_tag(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], name: str
) -> None:
    commit = hub.commit(REPO, model, branch="main" if name == "commit" else name)
    hub.commit(REPO, {"config.json": b"{}"})
    workspace.recipe("tiny", recipe(commit if name == "commit" else name))
    workspace.build("tiny")
    assert source_of(workspace).commit == commit


def test_code_pickles_folders_and_names_that_leave_the_folder_are_not_taken(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    unwanted = {
        "modeling_tiny.py", "tokenizer.py", "tokenizer.bin", "pytorch_model.bin", "training.pt",
        "onnx/config.json", "consolidated.safetensors", "optimizer.txt",
    }  # fmt: skip
    hub.commit(REPO, model | dict.fromkeys(unwanted, b"unwanted"))
    outside = ["../evil.json", "/tmp/evil.json", "..\\evil.json", "a\nb.json", ".."]
    hub.repositories[REPO].listed = outside
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    assert set(hub.downloads()) == set(model)
    assert set(source_of(workspace).files) == set(model)
    assert set(bytes_of(workspace)) <= set(model) | {"model.safetensors.index.json"}


def test_whatever_a_build_may_read_is_locked_and_fetched(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    odd = {"tokenizer.model.v3": b"3", "merges.txt": b"\n", "a[1].json": b"{}", "é😀.json": b"1"}
    hub.commit(REPO, model | odd)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    assert set(hub.downloads()) == {*model, *odd}
    assert bytes_of(workspace)["tokenizer.model.v3"] == b"3"


def test_wrong_bytes_of_the_right_length_are_refused_and_fetched_anew(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    hub.wrong = {"tokenizer_config.json", "generation_config.json"}
    told = workspace.refused("build", "tiny")
    assert "generation_config.json as downloaded has another git_sha1 than the lock says" in told
    assert "(and 1 more files)" in told
    assert "model.safetensors" not in hub.downloads()  # the small ones come first
    hub.wrong.clear()
    inspected(workspace)
    hub.wrong = {"model.safetensors"}
    told = workspace.refused("build", "tiny")
    assert "model.safetensors as downloaded has another sha256 than the lock says" in told
    assert workspace.artifacts("download") == workspace.artifacts("quantize") == []
    hub.wrong.clear()
    hub.requests.clear()
    workspace.build("tiny")
    assert "model.safetensors" in hub.downloads()
    assert "generation_config.json" not in hub.downloads()


def test_a_wrong_config_is_refused_before_anything_is_locked(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    hub.wrong = {"config.json"}
    told = workspace.refused("build", "tiny")
    assert "config.json as downloaded has another git_sha1 than the lock says" in told
    assert not (workspace.root / "recipes" / "tiny.lock").exists()
    hub.wrong.clear()
    workspace.build("tiny")


def test_a_model_that_cannot_be_built_is_refused_before_its_weights_are_fetched(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    unknown = model["config.json"].replace(b'"model_type": "llama"', b'"model_type": "phi9"')
    hub.commit(REPO, model | {"config.json": unknown})
    workspace.recipe("tiny", recipe())
    told = workspace.refused("build", "tiny")
    assert "model type 'phi9'" in told
    assert hub.downloads() == ["config.json"]
    assert not (workspace.root / "recipes" / "tiny.lock").exists()


def test_weights_that_change_in_the_cache_are_noticed_before_they_are_used(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    (weights,) = tmp_path.glob("hf-home/hub/*/snapshots/*/model.safetensors")
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-8] + b"\0\1\2\3\4\5\6\7")
    workspace.recipe("tiny", recipe(bits=8))
    told = workspace.refused("build", "tiny")
    assert "model.safetensors as downloaded has another sha256 than the lock says" in told
    assert len(workspace.artifacts("quantize")) == 1


def test_a_file_that_was_cut_off_in_the_cache_is_fetched_anew(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    (weights,) = tmp_path.glob("hf-home/hub/*/snapshots/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    workspace.recipe("tiny", recipe(bits=8))
    assert "model.safetensors as downloaded has" in workspace.refused("build", "tiny")
    workspace.build("tiny")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_build_that_is_killed_in_the_middle_of_a_download_is_continued(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path]
) -> None:
    workspace.recipe("local", f"source: {{path: {tiny()}}}")
    workspace.build("local")
    expected = digest_of(workspace)
    commit = hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    hub.requests.clear()
    hub.stalled = {"model.safetensors"}
    mark = uuid.uuid4().hex
    build = subprocess.Popen(
        [str(DOIT), "build", "tiny"], cwd=workspace.root, stderr=subprocess.DEVNULL,
        env=os.environ | {"MLXFORGE_TEST_MARK": mark},
    )  # fmt: skip
    asked = f"GET /{REPO}/resolve/{commit}/model.safetensors"
    wait_for(lambda: asked in hub.requests, "the download")
    build.kill()
    build.wait()
    wait_for(lambda: not marked(mark), "the step's process to end")
    assert workspace.artifacts("download") == []
    hub.stalled.clear()
    workspace.build("tiny")
    digests = [
        json.loads((path / "manifest.json").read_text())["digest"]
        for path in workspace.artifacts("quantize")
    ]
    assert len(digests) == 2 and set(digests) == {expected}


def test_a_connection_that_breaks_off_is_resumed(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    hub.requests.clear()
    hub.cut = {"model.safetensors"}
    workspace.build("tiny")
    assert hub.cut == set()
    assert hub.downloads().count("model.safetensors") == 2


def test_a_hub_that_fails_in_the_middle_is_told_and_the_next_build_goes_on(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    commit = hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    hub.failing = {f"GET /{REPO}/resolve/{commit}/model"}
    told = workspace.refused("build", "tiny")
    assert f"the Hub answered {REPO} with status 503" in told
    assert workspace.artifacts() == []
    locked = source_of(workspace)
    hub.failing.clear()
    workspace.build("tiny")
    assert source_of(workspace) == locked


def refused_without_lock(workspace: Workspace, **environment: str) -> str:
    workspace.recipe("tiny", recipe())
    told = workspace.refused("build", "tiny", **environment)
    assert 1 <= len(told.strip().splitlines()) <= 2, told
    assert [path.name for path in (workspace.root / "recipes").iterdir()] == ["tiny.yaml"]
    assert workspace.artifacts() == []
    return told


def test_a_gated_repository_is_told_before_anything_is_written(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    hub.repositories[REPO].gated = True
    told = refused_without_lock(workspace)
    assert f"error: {REPO} is gated" in told
    assert f"accept its terms at {hub.endpoint}/{REPO}" in told


def test_a_missing_repository_is_told(hub: Hub, workspace: Workspace) -> None:
    assert f"the Hub has no repository {REPO}, or it is private" in refused_without_lock(workspace)


def test_a_missing_revision_is_told(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model, branch="trunk")
    assert f"{REPO} has no revision 'main'" in refused_without_lock(workspace)


def test_a_repository_with_pickles_only_is_told(hub: Hub, workspace: Workspace) -> None:
    hub.commit(REPO, {"config.json": b"{}", "pytorch_model.bin": b"pickled"})
    told = refused_without_lock(workspace)
    assert f"{REPO} at main has no model*.safetensors; it has pytorch_model.bin" in told


def test_a_hub_under_maintenance_is_told(hub: Hub, workspace: Workspace) -> None:
    hub.failing = {"GET /api/"}
    assert f"the Hub answered {REPO} with status 503" in refused_without_lock(workspace)


def test_a_hub_that_is_not_there_is_told(hub: Hub, workspace: Workspace) -> None:
    told = refused_without_lock(workspace, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub at http://127.0.0.1:9 cannot be reached" in told


def test_offline_mode_is_told(hub: Hub, workspace: Workspace) -> None:
    told = refused_without_lock(workspace, HF_HUB_OFFLINE="1")
    assert "offline mode is on" in told
    assert hub.requests == []


def test_a_damaged_lock_and_one_of_another_revision_are_told(
    hub: Hub, workspace: Workspace
) -> None:
    workspace.recipe("tiny", recipe())
    lock_of(workspace).write_text("source:\n  repo: x\n  repo: y\n")
    told = workspace.refused("build", "tiny")
    assert "recipes/tiny.lock:3:3: this is not a lock: the key 'repo' is written twice" in told
    assert "cannot be built" in workspace.doit("list").stdout
    write_lock(lock_of(workspace), "tiny", Lock(LockedSource(REPO, "v1", "0" * 40, {})))
    told = workspace.refused("build", "tiny")
    assert f"tiny.lock is for {REPO} at v1, the recipe wants {REPO} at main" in told
    assert hub.requests == []


def test_a_locked_source_that_was_not_downloaded_says_that_it_is_offline(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    empty_cache(monkeypatch, tmp_path / "empty")
    workspace.recipe("tiny", recipe(bits=8))
    assert "offline mode is on" in workspace.refused("build", "tiny", HF_HUB_OFFLINE="1")


def test_a_private_repository_needs_a_token_which_is_written_nowhere(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    hub.repositories[REPO].private = True
    assert "or it is private" in refused_without_lock(workspace)
    assert "refuses your token" in refused_without_lock(workspace, HF_TOKEN="hf_wrong")
    hub.wrong = {"model.safetensors"}
    failed = workspace.doit("build", "tiny", HF_TOKEN=TOKEN)
    hub.wrong.clear()
    built = workspace.doit("build", "tiny", HF_TOKEN=TOKEN)
    assert failed.returncode != 0 and built.returncode == 0, built.stderr
    assert TOKEN not in failed.stdout + failed.stderr + built.stdout + built.stderr
    files = [path for path in workspace.root.parent.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".lock", ".log", ".json", ".safetensors"}
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_list_show_and_plan_ask_nothing_without_a_lock_or_offline(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    unlocked = [workspace.doit(*words) for words in (["list"], ["show", "tiny"], ["plan", "tiny"])]
    assert hub.requests == []
    workspace.build("tiny")
    shutil.rmtree(workspace.cache)
    empty_cache(monkeypatch, tmp_path / "empty")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    locked = [workspace.doit(*words) for words in (["list"], ["show", "tiny"], ["plan", "tiny"])]
    assert hub.requests == []
    assert {done.returncode for done in (*unlocked, *locked)} == {0}
    assert "not locked" in unlocked[0].stdout and "missing" in locked[0].stdout
    assert "once the source's headers can be read" in locked[2].stdout


def test_without_the_download_a_finished_model_is_up_to_date_and_other_bits_fetch_it_again(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    shutil.rmtree(tmp_path / "hf-home")
    hub.requests.clear()
    assert " done in " not in workspace.doit("build", "tiny").stderr
    assert hub.requests == []
    workspace.recipe("tiny", recipe(bits=8))
    workspace.build("tiny")
    assert hub.downloads() == sorted(model)
    assert len(workspace.artifacts("quantize")) == 2
