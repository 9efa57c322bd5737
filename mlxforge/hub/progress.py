"""How much of a download has arrived, told from many threads."""

from __future__ import annotations

import threading

from mlxforge.progress import Progress

__all__ = ["Arrivals"]


class Arrivals:
    """``there`` of ``total`` bytes were on the disk before."""

    def __init__(self, there: int, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = there, total, progress
        self._guard = threading.Lock()
        self.add(0)

    def add(self, size: int) -> None:
        """``size`` more; negative where bytes have to come again."""
        with self._guard:
            self._done += size
            self._progress(min(self._done, self._total), self._total, "bytes")
