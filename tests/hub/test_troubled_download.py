"""Downloads from a Hub in trouble: the right bytes in the end, or one clear line."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from mlxforge.hub.blobs import Blob, fetch_blob
from mlxforge.lock import LockedSource, read_lock, write_lock
from mlxforge.lock.reading import parse_lock
from tests.conftest import Workspace
from tests.hub.server import Hub
from tests.hub.test_hub_source import REPO, bytes_of, inspected, lock_of, recipe, source_of

WEIGHTS = "model.safetensors"


@pytest.fixture
def commit(hub: Hub, workspace: Workspace, model: dict[str, bytes], session_folder: Path) -> str:
    """Of a model that is locked and whose headers were read: what is left is the download."""
    workspace.recipe("tiny", recipe())
    made = hub.commit(REPO, model)
    kept = session_folder / f"inspected-{made}"
    if kept.exists():
        assert workspace.doit("lock", "tiny").returncode == 0
        shutil.copytree(kept, workspace.cache / "artifacts")
    else:
        inspected(workspace)
        shutil.copytree(workspace.cache / "artifacts", kept)
    hub.requests.clear()
    hub.sent.clear()
    return made


def is_right(workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path]) -> bool:
    """Whether the build made of the Hub's model what it makes of the same model in a folder."""
    workspace.recipe("local", f"source: {{path: {tiny()}}}")
    workspace.build("local")
    return bytes_of(workspace) == bytes_of(workspace, "local")


def refused(workspace: Workspace, **environment: str) -> str:
    told = workspace.refused("build", "tiny", **environment)
    lines = told.split("FAILED\n")[-1].strip().splitlines()
    assert 1 <= len(lines) <= 2, told
    assert workspace.artifacts("quantize") == []
    return "\n".join(lines)


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_asks_for_patience_is_given_it(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path],
    commit: str, status: int,
) -> None:  # fmt: skip
    path = f"GET /{REPO}/resolve/{commit}/{WEIGHTS}"
    trouble = hub.misbehave(path, "status", 2, status=status, retry_after=0)
    workspace.build("tiny")
    assert trouble.met == 2 and is_right(workspace, model, tiny)


def test_a_connection_that_breaks_goes_on_where_it_broke(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path], commit: str
) -> None:
    hub.misbehave(f"GET /{REPO}/resolve/{commit}/{WEIGHTS}", "cut", 3)
    workspace.build("tiny")
    parts = [(first, count) for name, first, count in hub.sent if name == WEIGHTS]
    assert len(parts) == 4 and sum(count for _, count in parts) == len(model[WEIGHTS])
    assert [first for first, _ in parts] == sorted({first for first, _ in parts})
    assert is_right(workspace, model, tiny)


def test_a_stall_is_given_up_and_gone_on_from(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path], commit: str
) -> None:
    trouble = hub.misbehave(f"GET /{REPO}/resolve/{commit}/{WEIGHTS}", "stalled", 1)
    done = workspace.doit("build", "tiny", HF_HUB_DOWNLOAD_TIMEOUT="1")
    trouble.release()
    assert done.returncode == 0, done.stderr
    parts = [(first, count) for name, first, count in hub.sent if name == WEIGHTS]
    assert parts[-1][0] > 0 and is_right(workspace, model, tiny)


def test_a_hub_that_only_stalls_is_told_and_what_came_is_kept(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path],
    commit: str, tmp_path: Path,
) -> None:  # fmt: skip
    trouble = hub.misbehave(f"GET /{REPO}/resolve/{commit}/{WEIGHTS}", "stalled", None)
    told = refused(workspace, HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert "cannot be reached" in told and "build again to go on" in told
    hub.ordered.clear()
    trouble.release()
    (unfinished,) = tmp_path.glob("hf-home/hub/*/blobs/*.incomplete")
    kept = unfinished.stat().st_size
    assert kept > 0
    hub.sent.clear()
    workspace.build("tiny")
    assert (WEIGHTS, kept, len(model[WEIGHTS]) - kept) in hub.sent
    assert is_right(workspace, model, tiny)


def test_a_branch_that_moves_while_it_is_locked_gives_one_commit(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path]
) -> None:
    """The commit is asked for, then its files, by its own name."""
    first = hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    done = threading.Event()

    def move() -> None:
        while not done.wait(0.001):
            if f"GET /api/models/{REPO}/revision/main" in hub.requests:
                hub.commit(REPO, {"config.json": b"{}", WEIGHTS: b"other"})
                return

    mover = threading.Thread(target=move)
    mover.start()
    workspace.build("tiny")
    done.set()
    mover.join()
    assert source_of(workspace).commit == first != hub.commits(REPO)[0][0]
    assert is_right(workspace, model, tiny)


def test_a_file_that_vanished_is_told(hub: Hub, workspace: Workspace, commit: str) -> None:
    path = f"/{REPO}/resolve/{commit}/{WEIGHTS}"
    hub.misbehave(path, "status", None, status=404, code="EntryNotFound")
    told = refused(workspace)
    assert f"{REPO} does not have {WEIGHTS} of commit {commit[:12]} any more" in told


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told(hub: Hub, workspace: Workspace, commit: str, status: int) -> None:
    hub.misbehave(f"/{REPO}/resolve/{commit}/{WEIGHTS}", "status", None, status=status)
    told = refused(workspace, HF_TOKEN="hf_refused")
    assert "hf auth login" in told and "hf_refused" not in told


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(
    hub: Hub, workspace: Workspace, commit: str
) -> None:
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock is not None and isinstance(lock.source, LockedSource)
    files = dict(lock.source.files)
    files["tokenizer.json"] = {**files["tokenizer.json"], "size": 10**15}
    source = dataclasses.replace(lock.source, files=files)
    write_lock(lock_of(workspace), "tiny", dataclasses.replace(lock, source=source))
    told = refused(workspace)
    assert re.search(rf"{REPO} needs 1000\.0 TB more, and the disk of .* has .* left", told)
    assert "HF_HOME" in told and hub.requests == []


def test_wrong_bytes_never_get_a_place_in_the_cache(
    hub: Hub, workspace: Workspace, commit: str, tmp_path: Path
) -> None:
    hub.wrong = {WEIGHTS}
    assert f"{WEIGHTS} as downloaded has another sha256" in refused(workspace)
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock and lock.source
    sha256 = lock.source.files[WEIGHTS]["sha256"]
    assert list(tmp_path.glob(f"hf-home/hub/*/blobs/{sha256}*")) == []


def test_a_piece_of_another_file_under_our_name_is_noticed(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tiny: Callable[..., Path],
    commit: str, tmp_path: Path,
) -> None:  # fmt: skip
    lock = read_lock(lock_of(workspace), workspace.root)
    assert lock and lock.source
    sha256 = lock.source.files[WEIGHTS]["sha256"]
    blobs = next(tmp_path.glob("hf-home/hub/models--*")) / "blobs"
    (blobs / f"{sha256}.incomplete").write_bytes(b"something else" * 100)
    assert f"{WEIGHTS} as downloaded has another sha256" in refused(workspace)
    workspace.build("tiny")
    assert is_right(workspace, model, tiny)


@pytest.fixture
def weights(hub: Hub, api: HfApi, commit: str, tmp_path: Path) -> Blob:
    """The locked model's weights, in a cache of their own."""
    locked = parse_lock((tmp_path / "project/recipes/tiny.lock").read_bytes(), "tiny.lock").source
    assert locked is not None
    fact = locked.files[WEIGHTS]
    place = tmp_path / "cache" / "models--acme--tiny" / "blobs" / fact["sha256"]
    url = f"{hub.endpoint}/{REPO}/resolve/{commit}/{WEIGHTS}"
    return Blob(url, place, fact["sha256"], fact["size"])


def test_two_at_once_fetch_a_file_once(hub: Hub, weights: Blob, model: dict[str, bytes]) -> None:
    counted: tuple[list[int], list[int]] = ([], [])
    pair = [
        threading.Thread(target=fetch_blob, args=(weights, 0, mine.append, threading.Event()))
        for mine in counted
    ]
    for one in pair:
        one.start()
    for one in pair:
        one.join()
    assert weights.path.read_bytes() == model[WEIGHTS]
    assert [sum(mine) for mine in counted] == [len(model[WEIGHTS])] * 2
    assert [name for name, _, _ in hub.sent] == [WEIGHTS]


def test_bytes_that_came_since_the_caller_looked_are_counted(
    weights: Blob, model: dict[str, bytes]
) -> None:
    seen = weights.there()
    weights.unfinished.parent.mkdir(parents=True)
    weights.unfinished.write_bytes(model[WEIGHTS][:1000])  # by one that was killed
    counted: list[int] = []
    assert fetch_blob(weights, seen, counted.append, threading.Event())
    assert counted[0] == 1000 and sum(counted) == len(model[WEIGHTS])
    assert not fetch_blob(weights, 1000, counted.append, threading.Event())  # all of it is there
    assert counted[-1] == len(model[WEIGHTS]) - 1000


def test_the_receipt_says_what_was_fetched_and_nothing_of_this_machine(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], commit: str
) -> None:
    workspace.build("tiny")
    (artifact,) = workspace.artifacts("download")
    receipt = json.loads((artifact / "data" / "snapshot.json").read_text())
    assert receipt["commit"] == commit and set(receipt["files"]) == set(model)
