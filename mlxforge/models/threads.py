"""Matrix products whose bytes do not depend on how many cores there are.

A BLAS divides a product among its threads, and where it cuts, it rounds otherwise. With one thread
each it always rounds alike; what there is to be done is divided here instead, into pieces that are
the same everywhere, and each core takes some of them.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import mlx.core as mx

from mlxforge.models.writing.parallel import cores

__all__ = ["Lanes", "one_thread_per_product", "uncompiled"]

COUNTS = (
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)

T = TypeVar("T")


@contextmanager
def one_thread_per_product() -> Iterator[None]:
    """The BLAS that serves MLX multiplies in one thread at a time."""
    loaded = ctypes.CDLL(None)
    with ExitStack() as stack:
        for get, put in COUNTS:
            if hasattr(loaded, get) and hasattr(loaded, put):
                stack.callback(getattr(loaded, put), getattr(loaded, get)())
                getattr(loaded, put)(1)
        yield


@contextmanager
def uncompiled() -> Iterator[None]:
    """What models compile runs as it is written, so that threads may run it.

    A thread keeps what was compiled in it until it ends, and then MLX asks for the interpreter's
    lock: a process that is ending itself is aborted there.
    """
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()


class Lanes:
    """As many streams as there are cores; on a GPU its one stream."""

    def __init__(self) -> None:
        self.on_cpu = bool(mx.default_device() == mx.Device(mx.cpu))
        self.count = cores() if self.on_cpu else 1
        self._streams = [mx.new_stream(mx.default_device()) for _ in range(self.count)]

    def each(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """What the jobs give, in their order, evaluated; a few of them at a time.

        A job builds a graph of arrays. One that evaluates on its way does so alone.
        """
        running: deque[tuple[mx.Stream, T]] = deque()
        free = deque(self._streams)
        for job in jobs:
            if not free:
                stream, found = running.popleft()
                mx.eval(found)
                free.append(stream)
                yield found
            stream = free.popleft()
            with mx.stream(stream):
                found = job()
                mx.async_eval(found)  # type: ignore[no-untyped-call]
            running.append((stream, found))
        for _, found in running:
            mx.eval(found)
            yield found
