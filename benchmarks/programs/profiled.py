"""Run a script, or the step whose job stands on standard input, under cProfile.

profiled.py REPORT [SCRIPT WORD…]
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import json
import pstats
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

SHOWN = 10


def run_script(words: list[str]) -> None:
    sys.argv = words
    with contextlib.suppress(SystemExit):
        runpy.run_path(words[0], run_name="__main__")


def run_step() -> None:
    from mlxforge.steps.worker import run_job

    run_job(json.loads(sys.stdin.readline()), lambda done, total, unit: None)


def profile(work: Callable[[], None], printed: TextIO) -> pstats.Stats:
    """The statistics of ``work`` and of the threads that ended in it."""
    profiles = [cProfile.Profile()]
    if sys.version_info < (3, 12):  # later ones see all threads by themselves
        run = threading.Thread.run

        def profiled_run(self: threading.Thread) -> None:
            own = cProfile.Profile()
            own.runcall(run, self)
            profiles.append(own)

        threading.Thread.run = profiled_run  # type: ignore[method-assign]
    profiles[0].runcall(work)
    return pstats.Stats(*profiles, stream=printed)


def main() -> None:
    report, *words = sys.argv[1:]
    text = io.StringIO()
    stats = profile((lambda: run_script(words)) if words else run_step, text)
    stats.sort_stats("tottime").print_stats(SHOWN)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    start = next(number for number, line in enumerate(lines) if "tottime" in line)
    Path(report).write_text("\n".join(line for line in lines[start:] if line) + "\n")


if __name__ == "__main__":
    main()
