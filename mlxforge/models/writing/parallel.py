"""Work on many pieces at once, results in order, memory for a few pieces only."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import mlx.core as mx

__all__ = ["cores", "in_order", "workers"]

Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers() -> int:
    """How many threads quantize: on a CPU each is a core's work, a GPU needs one to read ahead."""
    return cores() if mx.default_device() == mx.Device(mx.cpu) else 2


def in_order(jobs: Iterable[Callable[[], Result]], workers: int) -> Iterator[Result]:
    """The results of ``jobs`` in their order, computed by ``workers`` threads.

    Every thread has an MLX stream of its own, so that MLX's kernels, each of which runs on one
    core of a CPU, run side by side. At most two jobs per thread are under way or waiting to be
    taken. The first failure is raised here; what has not begun by then never does.
    """
    local = threading.local()
    device = mx.default_device()

    def run(job: Callable[[], Result]) -> Result:
        if not hasattr(local, "stream"):
            local.stream = mx.new_stream(device)
        with mx.stream(local.stream):
            return job()

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
