"""huggingface_hub's progress bars, turned into our progress."""

from __future__ import annotations

import threading
from typing import Any

from huggingface_hub.utils.tqdm import tqdm

from mlxforge.progress import Progress

__all__ = ["byte_counter"]


def byte_counter(there: int, total: int, progress: Progress) -> type[tqdm]:
    """A ``tqdm_class`` for ``snapshot_download`` that shows nothing and reports bytes.

    ``there`` of ``total`` bytes were in the cache before. The client counts the same bytes on
    two bars, received and written, and files on a third; the furthest of the two tells most.
    It updates them from many threads at once.
    """
    guard = threading.Lock()
    furthest = 0

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            self._done = 0
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            if not self._counts_bytes:
                return
            with guard:
                self._done += int(n or 0)
                furthest = max(furthest, self._done)
                progress(min(there + furthest, total), total, "bytes")

    return Counter
