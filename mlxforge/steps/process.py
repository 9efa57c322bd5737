"""Running a step in an operating-system process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.kernels import VARIABLE, kernels
from mlxforge.progress import Progress
from mlxforge.steps.base import Step
from mlxforge.steps.remote_code import remove_views

__all__ = ["HUGE_PAGES", "Outcome", "run_in_process", "step_environment", "stop_all"]

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Memory in large pages where the system has them: a fifth less CPU for reading and packing. Only
glibc looks at it, and only at a program's start."""

BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",  # of an OpenBLAS that was built with OpenMP, which heeds no other
)

WIDE = {"MLX_BFS_MAX_WIDTH": "200"}
"""MLX takes the operations of wider graphs one branch after the other, with its own 20 those of one
stream after those of another."""

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_running: set[subprocess.Popen[str]] = set()
_guard = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """``digests``: the sha256 of files that the step hashed while it wrote them, by name.
    ``peak_bytes``: the most memory that its process had."""

    digests: Mapping[str, str]
    peak_bytes: int


def step_environment(step: Step) -> dict[str, str]:
    """The environment that a step's process is started with: with no token of the Hub, and no way
    there, for a step that has no business with it."""
    environment = dict(os.environ)
    if not step.network:
        for name in TOKENS:
            environment.pop(name, None)
        environment["HF_HUB_OFFLINE"] = "1"
    if step.one_blas_thread:
        environment |= dict.fromkeys(BLAS_THREADS, "1")
    if chosen := kernels():
        environment[VARIABLE] = chosen  # for numpy too, which has an OpenBLAS of its own
    if step.side_by_side:
        environment |= WIDE
    if step.large_pages:
        tunables = filter(None, (HUGE_PAGES, os.environ.get("GLIBC_TUNABLES")))
        environment["GLIBC_TUNABLES"] = ":".join(tunables)
    return environment


def run_in_process(
    step: Step, inputs: Mapping[str, Path], out: Path, log: Path, progress: Progress
) -> Outcome:
    """Run ``step`` to its end; raises ForgeError where it fails or dies.

    The process leads a session of its own, so that Ctrl-C reaches only us, and is killed when
    this call ends for whatever reason. What it prints goes to ``log``.
    """
    job = {
        "kind": step.kind,
        "parameters": step.parameters(),
        "inputs": {name: str(path) for name, path in inputs.items()},
        "out": str(out),
    }
    with log.open("w", encoding="utf-8") as printed:
        process = subprocess.Popen(
            # -P: no module in the project's folder may stand in for an installed one
            [sys.executable, "-P", "-m", "mlxforge.steps.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env=step_environment(step),
        )
    with _guard:
        _running.add(process)
    try:
        verdict = _converse(process, job, progress)
    finally:
        _kill(process)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        with _guard:
            _running.discard(process)
        remove_views(step, out)
    if verdict.get("finished"):
        return Outcome(dict(verdict["digests"]), int(verdict["peak_bytes"]))
    more = f"the whole story is in {log}" if verdict.get("crash") else verdict.get("hint")
    raise ForgeError(verdict["error"], more, key=verdict.get("key"))


def stop_all() -> None:
    """Kill every step that is running in this program."""
    with _guard:
        for process in _running:
            _kill(process)


def _converse(
    process: subprocess.Popen[str], job: Mapping[str, object], progress: Progress
) -> dict[str, Any]:
    """What the process said last, or what its silence means."""
    assert process.stdin and process.stdout
    verdict: dict[str, Any] = {}
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    for line in process.stdout:
        if not line.endswith("\n"):  # killed while it spoke
            break
        message = json.loads(line)
        if "total" in message:
            progress(message["done"], message["total"], message["unit"])
        else:
            verdict = message
    status = process.wait()
    return verdict or {"error": _death(status), "crash": True}


def _death(status: int) -> str:
    if status >= 0:
        return f"the step's process ended with status {status} and no word"
    name = signal.Signals(-status).name
    why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the step's process was killed by {name}{why}"


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
