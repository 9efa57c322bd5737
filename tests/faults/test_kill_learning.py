"""Killed in any step that learns, the next build takes up what it left and ends with the same
bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import DEMO, Workspace
from tests.faults.builds import digests, marked, start, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

LEARN = f"""\
calibrate: {{text: {{path: {DEMO / "heldout.txt"}}}, samples: 8, sequence_length: 64}}
"""
DYNAMIC = "dynamic, dynamic: {target_bits_per_weight: 4.5, method: gptq}, refine: dwq"
DYNAMIC_STEPS = 3  # sensitivity, gptq, dwq
CASCADE = "gptq, prepare: awq"
CASCADE_STEPS = 2
KILLS = 8


def recipe(method: str, source: Path) -> str:
    return f"source: {{path: {source}}}\nquantize: {{method: {method}, group_size: 32}}\n{LEARN}"


def gone(mark: str) -> bool:
    return not marked(mark)


def left(workspace: Workspace) -> list[Path]:
    """Checkpoints that are whole; steps that end take theirs away meanwhile."""
    walk = os.walk(workspace.cache / "checkpoints")
    return [
        Path(folder) / name for folder, _, names in walk for name in names if ".part" not in name
    ]


def kill(build: subprocess.Popen[bytes], mark: str) -> None:
    """The build, and all that it started."""
    for pid in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    build.wait(timeout=30)
    wait_for(partial(gone, mark), "all processes to end")


def test_killed_again_and_again_wherever_it_is(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]
) -> None:
    whole = Workspace(tmp_path_factory.mktemp("whole") / "project")
    for each in (whole, workspace):
        each.recipe("tiny", recipe(f"{CASCADE}, refine: dwq", tiny()))
    begun = time.monotonic()
    whole.build("tiny")
    took = time.monotonic() - begun
    chance = random.Random(8)
    kills = 0
    for _ in range(KILLS):
        mark = uuid.uuid4().hex
        build = start(workspace, mark)
        with suppress(subprocess.TimeoutExpired):
            build.wait(timeout=chance.uniform(0.1, 0.5) * took)
        if build.poll() is None:
            kill(build, mark)
            kills += 1
    assert kills >= 2
    workspace.build("tiny")
    assert digests(workspace) == digests(whole)
    assert not left(workspace)


@pytest.mark.parametrize("method, steps", [(DYNAMIC, DYNAMIC_STEPS), (CASCADE, CASCADE_STEPS)])
def test_each_step_killed_once(
    workspace: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., Path],
    method: str,
    steps: int,
) -> None:
    whole = Workspace(tmp_path_factory.mktemp("whole") / "project")
    for each in (whole, workspace):
        each.recipe("tiny", recipe(method, tiny()))
    whole.build("tiny")
    killed: set[Path] = set()

    def fresh() -> set[Path]:
        """Folders of checkpoints that no build was killed for yet, with two files at least."""
        folders = [path.parent for path in left(workspace)]
        return {each for each in folders if folders.count(each) > 1} - killed

    while True:
        mark = uuid.uuid4().hex
        build = start(workspace, mark)
        while build.poll() is None and not (found := fresh()):
            time.sleep(0.005)
        if build.returncode == 0:
            break
        assert build.returncode is None, "the build failed"
        kill(build, mark)
        before = left(workspace)
        killed |= found
    assert len(killed) == steps
    assert digests(workspace) == digests(whole)
    assert not left(workspace) and before
