"""Matrix products whose bytes do not depend on how many cores there are.

A BLAS divides a product among its threads, and where it cuts, it rounds otherwise. With one thread
each it always rounds alike; what there is to be done is divided here instead, into pieces that are
the same everywhere, and each core takes some of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import mlx.core as mx

from mlxforge.models.writing.parallel import cores
from mlxforge.quantize.cpu import on_cpu

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
    """As many streams as there are cores, or ``most`` of them; on a GPU its one stream."""

    def __init__(self, most: int | None = None) -> None:
        self.on_cpu = on_cpu()
        self.count = min(cores(), most or cores()) if self.on_cpu else 1
        self._streams = [mx.new_stream(mx.default_device()) for _ in range(self.count)]

    def each(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """What the jobs give, in their order, evaluated; as many at a time as there are streams.

        A job builds a graph of arrays. Graphs are evaluated in one call: MLX lets only so much of
        a graph wait for its turn, and of two calls the second would begin when the first is
        nearly done. (Side by side it takes them as far as its ``MLX_BFS_MAX_WIDTH`` allows.) A job
        that evaluates on its way does so alone.
        """
        waiting = iter(jobs)
        while found := [
            _on(stream, job) for stream, job in zip(self._streams, waiting, strict=False)
        ]:
            mx.eval(found)
            yield from found


def _on(stream: mx.Stream, job: Callable[[], T]) -> T:
    with mx.stream(stream):
        return job()
