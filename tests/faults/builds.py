"""Builds that run under a mark, so that all of their processes can be found and killed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.conftest import DOIT, Workspace

Found = TypeVar("Found")

__all__ = ["digests", "marked", "start", "started_by", "wait_for"]


def start(workspace: Workspace, mark: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(DOIT), "build", "tiny", *words],
        cwd=workspace.root,
        env=os.environ | {"MLXFORGE_TEST_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def marked(mark: str) -> list[int]:
    """Processes that were started under ``mark`` and still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = "State:\tZ" not in (folder / "status").read_text()
            if alive and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def started_by(build: subprocess.Popen[bytes] | subprocess.Popen[str], mark: str) -> list[int]:
    """Those of ``mark`` that run a command of their own: a fork is its parent until it does."""
    own = _command(build.pid)
    return [pid for pid in marked(mark) if _command(pid) not in (own, b"")]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def wait_for(condition: Callable[[], Found], what: str, seconds: float = 60) -> Found:
    """What ``condition`` gives, once that is something."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


def digests(workspace: Workspace) -> dict[str, str]:
    found = {}
    for folder in workspace.artifacts():
        manifest = json.loads((folder / "manifest.json").read_text())
        found[f"{manifest['kind']} {manifest['key']}"] = manifest["digest"]
    return found
