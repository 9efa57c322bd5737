"""Work on many pieces at once, results in order, memory for a few pieces only."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

import mlx.core as mx

from mlxforge.quantize.cpu import on_cpu

__all__ = ["cores", "in_order", "workers"]

Result = TypeVar("Result")

_own = threading.local()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers() -> int:
    """How many threads quantize: on a CPU each is a core's work, a GPU needs one to read ahead."""
    return cores() if on_cpu() else 2


def in_order(
    jobs: Iterable[Callable[[], Result]], workers: int, ahead: int | None = None
) -> Iterator[Result]:
    """The results of ``jobs`` in their order, computed by ``workers`` threads.

    Every thread has an MLX stream of its own, so that MLX's kernels, each of which runs on one
    core of a CPU, run side by side. At most ``ahead`` jobs, two per thread, are under way or
    waiting to be taken; none may call this itself. The first failure is raised here; what has not
    begun by then never does.
    """
    device = mx.default_device()

    def run(job: Callable[[], Result]) -> Result:
        with mx.stream(_own_stream(device)):
            return job()

    pool = _pool(workers)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(run, job))
            if len(waiting) >= (ahead or 2 * workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


@lru_cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """For good: a thread's stream, with a thread of MLX's own behind it, outlives the thread."""
    return ThreadPoolExecutor(workers, "pieces")


def _own_stream(device: mx.Device) -> mx.Stream:
    streams: dict[str, mx.Stream] = vars(_own).setdefault("streams", {})
    if str(device) not in streams:
        streams[str(device)] = mx.new_stream(device)
    return streams[str(device)]
