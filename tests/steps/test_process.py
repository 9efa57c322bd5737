"""What the process of a step says, and what its silence means."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlxforge.steps.process import _converse

SAYS = """\
import os, signal, sys
sys.stdin.readline()
os.write(1, {said!r})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b'{"finished": true, "dig',
        b'{"done": 1, "total": 2, "unit": "bytes"}\n{"done": 2, "to',
    ],
    ids=["nothing", "half a verdict", "half a report"],
)
def test_a_process_that_is_killed_while_it_speaks_was_killed(said: bytes) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAYS.format(said=said)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    told: list[tuple[int, int, str]] = []
    verdict = _converse(process, {}, lambda *progress: told.append(progress))
    assert verdict["crash"]
    assert verdict["error"].startswith("the step's process was killed by SIGKILL")
    assert told == ([(1, 2, "bytes")] if b"unit" in said else [])
