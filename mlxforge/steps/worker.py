"""The process that a step runs in: one job in, progress and one verdict out, as JSON lines.

The parent keeps our standard input open for as long as it lives. When it is gone, however it
went, the pipe closes and this process ends at once: no orphan goes on writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from mlxforge.errors import ForgeError
from mlxforge.progress import Progress

__all__ = ["main", "run_job"]

REPORT_EVERY = 0.1  # seconds


def _end_with_parent(pipe: TextIO) -> None:
    pipe.read()
    os._exit(3)


class _Reports:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._unit, self._last = "", 0.0

    def send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def progress(self, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if unit != self._unit or done >= total or now - self._last >= REPORT_EVERY:
            self._unit, self._last = unit, now
            self.send({"done": done, "total": total, "unit": unit})


def _log_trace() -> None:
    with contextlib.suppress(OSError):  # the log may lie on the very disk that is full
        traceback.print_exc()


def main() -> int:
    """Run the job on standard input; what the step prints goes to standard error."""
    reports = _Reports(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    pipe = os.fdopen(os.dup(0), "r", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a library that asks a question gets no answer
    job = json.loads(pipe.readline())
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        digests = run_job(job, reports.progress)
    except ForgeError as error:
        _log_trace()
        reports.send({"error": error.message, "hint": error.hint, "key": error.key})
        return 1
    except OSError as error:
        from mlxforge.store.store import disk_error

        _log_trace()
        failure = disk_error(error)
        reports.send({"error": failure.message, "hint": failure.hint})
        return 1
    except SystemExit as error:
        _log_trace()
        reports.send({"error": f"a library ended the step: {error}", "hint": None, "crash": True})
        return 1
    except MemoryError:
        _log_trace()
        reports.send({"error": "memory ran out", "hint": None})
        return 1
    except Exception as error:
        _log_trace()
        reports.send({"error": f"{type(error).__name__}: {error}", "hint": None, "crash": True})
        return 1
    reports.send({"finished": True, "digests": digests, "peak_bytes": _peak_bytes()})
    return 0


def _peak_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def run_job(job: dict[str, Any], progress: Progress) -> dict[str, str]:
    """Run the step that ``job`` describes; the sha256 of files that it hashed on the way."""
    from mlxforge.steps.registry import make_step
    from mlxforge.steps.remote_code import with_remote_code

    step = make_step(job["kind"], job["parameters"])
    if step.blas:
        from mlxforge.models.blas import load_blas

        load_blas()
    if step.backend:
        from mlxforge.models.device import use_backend

        use_backend()
    out = Path(job["out"])
    inputs = {name: Path(path) for name, path in job["inputs"].items()}
    with with_remote_code(step, inputs, out) as readable:
        return dict(step.run(readable, out, progress) or {})


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # no waiting for threads that watch pipes
