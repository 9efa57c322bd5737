"""Decoded weights for those who ask, a part at a time; some of them are kept.

Decoding runs in threads of its own, a few parts ahead of the multiplication that waits for them:
MLX's kernels for it use one thread each. Parts stay in memory, first come, until the budget is
spent, so that a model that fits is decoded once, and one that does not costs no more memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import mlx.core as mx

from mlxforge.models.scoring.leaves.matrix import Matrix
from mlxforge.models.writing.parallel import cores

__all__ = ["PART_BYTES", "Range", "Supply"]

PART_BYTES = 8 << 20  # of one decoded part
AHEAD = 4  # parts, at most, that are decoded before they are asked for

Range = tuple[int, int]
Key = tuple[str, int, int]


class Supply:
    """Serves the parts of matrices. ``budget``: how many bytes of them may be kept."""

    def __init__(self, budget: int, part_bytes: int = PART_BYTES) -> None:
        self._left = budget
        self._part_bytes = part_bytes
        self._kept: dict[Key, mx.array] = {}
        self._ahead = min(cores(), AHEAD)
        self._readers = ThreadPoolExecutor(self._ahead, "decode", _take_stream)

    def grow(self, budget: int) -> None:
        """Keep ``budget`` bytes more."""
        self._left += budget

    def part_rows(self, matrix: Matrix) -> int:
        """Rows of one part."""
        return max(1, self._part_bytes // (4 * matrix.columns))

    def cut(self, matrix: Matrix, start: int, stop: int) -> list[Range]:
        """Rows ``start`` to ``stop`` as ranges of one part each."""
        step = self.part_rows(matrix)
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def parts(self, matrix: Matrix, ranges: Iterable[Range]) -> Iterator[mx.array]:
        """The rows of every range, float32, in order; a few of them are decoded ahead."""
        waiting: deque[tuple[Range, mx.array | Future[mx.array]]] = deque()
        for wanted in ranges:
            waiting.append((wanted, self._ask(matrix, wanted)))
            if len(waiting) > self._ahead:
                yield self._receive(matrix, *waiting.popleft())
        while waiting:
            yield self._receive(matrix, *waiting.popleft())

    def keeps(self, matrix: Matrix, ranges: Iterable[Range]) -> bool:
        """Whether all of these parts are in memory, to stay."""
        return all((matrix.weight.name, *wanted) in self._kept for wanted in ranges)

    def whole(self, name: str, load: Callable[[], mx.array]) -> mx.array:
        """A parameter that is not cut into parts; kept, if the budget allows it."""
        key = (name, 0, -1)
        if key not in self._kept:
            found = load()
            mx.eval(found)
            self._keep(key, found)
            return found
        return self._kept[key]

    def keeps_whole(self, name: str) -> bool:
        return (name, 0, -1) in self._kept

    def _ask(self, matrix: Matrix, wanted: Range) -> mx.array | Future[mx.array]:
        kept = self._kept.get((matrix.weight.name, *wanted))
        return self._readers.submit(_decode, matrix, wanted) if kept is None else kept

    def _receive(
        self, matrix: Matrix, wanted: Range, part: mx.array | Future[mx.array]
    ) -> mx.array:
        if isinstance(part, Future):
            part = part.result()
            self._keep((matrix.weight.name, *wanted), part)
        return part

    def _keep(self, key: Key, part: mx.array) -> None:
        if part.nbytes <= self._left:
            self._left -= part.nbytes
            self._kept[key] = part


_own = threading.local()


def _take_stream() -> None:
    _own.stream = mx.new_stream(mx.cpu)


def _decode(matrix: Matrix, wanted: Range) -> mx.array:
    with mx.stream(_own.stream):
        return matrix.decode(*wanted)
