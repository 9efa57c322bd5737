"""How long a step took, runs of it that were killed included."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mlxforge.progress import Progress

__all__ = ["Stopwatch"]

NAME = ".seconds"
MOST = 1e9
EVERY = 5.0  # seconds: what a kill may take away of the count


class Stopwatch:
    """Runs from now on. Where there is a folder for ``checkpoints``, it begins with what the runs
    before this one have left in it, and leaves there what has passed."""

    def __init__(self, checkpoints: Path | None) -> None:
        self._file = checkpoints / NAME if checkpoints else None
        self._before = _read(self._file) if self._file else 0.0
        self._started = self._told = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def listening(self, progress: Progress) -> Progress:
        """``progress``, at which the time is taken down now and then."""

        def told(done: int, total: int, unit: str) -> None:
            if self._file and time.monotonic() - self._told >= EVERY:
                self._told = time.monotonic()
                staged = self._file.with_suffix(".part")
                staged.write_text(f"{self.seconds():.3f}\n")
                os.replace(staged, self._file)
            progress(done, total, unit)

        return told


def _read(file: Path) -> float:
    try:
        found = float(file.read_text())
    except (OSError, ValueError):
        return 0.0
    return found if 0 <= found < MOST else 0.0
