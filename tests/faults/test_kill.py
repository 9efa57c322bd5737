"""Killed at any step, the next build goes on and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DEMO, DOIT, Workspace
from tests.faults.builds import digests, marked, start, started_by, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

RECIPE = """\
source: {{path: {source}}}
evaluate:
  text: {{path: {text}}}
  samples: 2
  sequence_length: 64
  prompts: ["Tell me a short story."]
  max_tokens: 8
"""
INTO = {"inspect": 0.3, "quantize": 0.05, "baseline": 0.3, "evaluate": 0.3}
"""Seconds into a step and before its end: the imports alone take longer."""


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]
) -> dict[str, str]:
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed") / "project")
    workspace.recipe("tiny", RECIPE.format(source=tiny(), text=DEMO / "heldout.txt"))
    workspace.build("tiny")
    return digests(workspace)


@pytest.mark.parametrize("kind", INTO)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_a_build_that_is_killed_in_a_step_is_continued(
    workspace: Workspace,
    tiny: Callable[..., Path],
    undisturbed: dict[str, str],
    kind: str,
    sent: signal.Signals,
) -> None:
    workspace.recipe("tiny", RECIPE.format(source=tiny(), text=DEMO / "heldout.txt"))
    mark = uuid.uuid4().hex
    build = start(workspace, mark)
    wait_for(lambda: list((workspace.cache / "logs").glob(f"{kind}-*")), f"step {kind}")
    time.sleep(INTO[kind])
    build.send_signal(sent)
    assert build.wait(timeout=30) != 0
    wait_for(lambda: not marked(mark), "the step's process to end")
    unfinished = {name.split()[0] for name in digests(workspace)}
    assert kind not in unfinished

    workspace.build("tiny")
    assert digests(workspace) == undisturbed


def test_a_step_that_the_system_kills_is_reported_and_built_by_the_next_run(
    workspace: Workspace, tiny: Callable[..., Path], undisturbed: dict[str, str]
) -> None:
    workspace.recipe("tiny", RECIPE.format(source=tiny(), text=DEMO / "heldout.txt"))
    mark = uuid.uuid4().hex
    build = subprocess.Popen(
        [str(DOIT), "build", "tiny"], cwd=workspace.root, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MLXFORGE_TEST_MARK": mark},
    )  # fmt: skip
    wait_for(lambda: list((workspace.cache / "logs").glob("quantize-*")), "step quantize")
    (step,) = wait_for(lambda: started_by(build, mark), "the step's process")
    os.kill(step, signal.SIGKILL)
    _, told = build.communicate(timeout=60)
    assert build.returncode == 1
    assert "the step's process was killed by SIGKILL, as the system does when memory" in told
    assert "Traceback" not in told

    workspace.build("tiny")
    assert digests(workspace) == undisturbed
