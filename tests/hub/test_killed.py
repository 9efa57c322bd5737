"""kill -9 at any moment of a download or an upload: the next run goes on, and ends right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DOIT, Workspace
from tests.faults.builds import marked, wait_for
from tests.hub.server import TOKEN, Hub
from tests.hub.test_hub_source import REPO, bytes_of, digest_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

KILLS = int(os.environ.get("MLXFORGE_KILLS", "6"))
IN_FLIGHT = 300_000  # bytes on their way when a process dies, at the speed of these tests


@pytest.fixture
def large(tiny: Callable[..., Path]) -> dict[str, bytes]:
    folder = tiny(hidden=256, layers=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed(workspace: Workspace, seconds: float, *words: str) -> bool:
    """Run doit and kill all of it after that time; False where it was done before."""
    mark = uuid.uuid4().hex
    running = subprocess.Popen(
        [str(DOIT), *words], cwd=workspace.root, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HF_TOKEN": TOKEN, "MLXFORGE_TEST_MARK": mark},
    )  # fmt: skip
    try:
        _, told = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        running.communicate()
        wait_for(lambda: not marked(mark), "everything to end")
        return True
    assert running.returncode == 0, told
    return False


def test_a_download_is_killed_at_random_and_never_begins_again(
    hub: Hub, workspace: Workspace, large: dict[str, bytes], tmp_path: Path
) -> None:
    chance = random.Random(4)
    hub.commit(REPO, large)
    workspace.recipe("tiny", f"source: {{repo: {REPO}}}\n")
    workspace.build("tiny")
    expected, right = digest_of(workspace), bytes_of(workspace)
    size = len(large["model.safetensors"])
    hub.bytes_per_second = size / 4

    def anew() -> None:
        shutil.rmtree(tmp_path / "hf-home", ignore_errors=True)
        shutil.rmtree(workspace.cache)

    anew()
    hub.sent.clear()
    kills = rounds = 0
    while kills < KILLS:
        if killed(workspace, chance.uniform(0.3, 4.0), "build", "tiny"):
            kills += 1
            continue
        assert (digest_of(workspace), bytes_of(workspace)) == (expected, right)
        rounds += 1
        anew()
    hub.bytes_per_second = None
    workspace.build("tiny")
    assert (digest_of(workspace), bytes_of(workspace)) == (expected, right)
    sent = sum(count for name, _, count in hub.sent if name == "model.safetensors")
    twice = sent - size * (rounds + 1)
    print(f"{kills} kills, {rounds + 1} downloads, {twice} of {sent} bytes sent twice")
    assert twice <= kills * IN_FLIGHT


@pytest.mark.parametrize("xet", [False, True], ids=["classic LFS", "xet-era pipeline"])
def test_an_upload_is_killed_at_random_and_ends_with_the_right_bytes(
    hub: Hub, workspace: Workspace, large: dict[str, bytes], xet: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "0" if xet else "1")
    hub.regular = xet
    chance = random.Random(5 + xet)
    hub.commit(REPO, large)
    kills = rounds = 0

    def target() -> str:
        """Another repository each time: what a killed client sent may still be on its way."""
        return f"acme/tiny-{rounds}"

    def anew() -> None:
        recipe = f"source: {{repo: {REPO}}}\nupload: {{repo: {target()}}}\n"
        workspace.recipe("tiny", recipe)

    def is_right() -> bool:
        there = hub.files(target())
        return {name: there[name] for name in right} == right and len(hub.tags(target())) == 1

    anew()
    workspace.build("tiny")
    right = bytes_of(workspace)
    size = sum(map(len, right.values()))
    hub.bytes_per_second = size / 1.5
    while kills < KILLS // 2 + 1:
        if killed(workspace, chance.uniform(0.3, 4.0), "upload", "tiny"):
            kills += 1
            continue
        assert is_right()
        rounds += 1
        anew()
    hub.bytes_per_second = None
    assert not killed(workspace, 60, "upload", "tiny")
    assert is_right()
    received = sum(hub.received.values())
    twice = received - size * (rounds + 1)
    print(f"{kills} kills, {rounds + 1} uploads, {twice} of {received} bytes sent twice")
