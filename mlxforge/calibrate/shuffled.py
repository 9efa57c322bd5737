"""Chance that no version of numpy changes.

numpy promises the raw numbers of its bit generators for good (NEP 19), and not what its methods
make of them. So an order is made of them here, by Fisher and Yates, as numpy 2 makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["permutation"]


def permutation(count: int, seed: int | Sequence[int]) -> npt.NDArray[np.intp]:
    """The numbers below ``count`` (at most 2^32) in an order by PCG64 of ``seed``, all orders as
    likely."""
    words = _words(np.random.PCG64(seed))
    order = np.arange(count)
    for last in range(count - 1, 0, -1):
        other = _below(last + 1, words)
        order[last], order[other] = order[other], order[last]
    return order


def _words(numbers: np.random.PCG64) -> Iterator[int]:
    """Of 32 bits each, the lower half of a raw number first."""
    while True:
        both = int(numbers.random_raw())
        yield both & 0xFFFFFFFF
        yield both >> 32


def _below(bound: int, words: Iterator[int]) -> int:
    """A number below ``bound``: of the words' last bits, as many as it may need, the first."""
    mask = (1 << (bound - 1).bit_length()) - 1
    return next(number for word in words if (number := word & mask) < bound)
