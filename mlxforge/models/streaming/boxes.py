"""Boxes: rectangular parts of an array, one (start, stop) per axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

__all__ = ["Box", "boxes_of_range", "cover", "full", "offset", "shape_of", "within"]

Box = tuple[tuple[int, int], ...]


def full(shape: Sequence[int]) -> Box:
    """The box that is the whole array."""
    return tuple((0, extent) for extent in shape)


def shape_of(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def offset(shape: Sequence[int], box: Box) -> int:
    """The row-major flat index of a box's first element."""
    position = 0
    for extent, (start, _) in zip(shape, box, strict=True):
        position = position * extent + start
    return position


def cover(shape: Sequence[int], box: Box) -> Box:
    """The least box around ``box`` whose elements lie next to each other in row-major order."""
    wide = next((axis for axis, (start, stop) in enumerate(box) if stop - start > 1), len(box))
    return (*box[: wide + 1], *full(shape[wide + 1 :]))


def within(outer: Box, inner: Box) -> tuple[slice, ...]:
    """Where ``inner`` lies in an array that holds ``outer``."""
    return tuple(
        slice(start - base, stop - base)
        for (base, _), (start, stop) in zip(outer, inner, strict=True)
    )


def boxes_of_range(shape: Sequence[int], start: int, stop: int) -> Iterator[Box]:
    """The elements ``start`` to ``stop`` in row-major order, as few boxes in that order."""
    if start >= stop:
        return
    if len(shape) <= 1:
        yield tuple((start, stop) for _ in shape)
        return
    below = math.prod(shape[1:])
    first, skipped = divmod(start, below)
    last, remaining = divmod(stop, below)
    if first == last:
        yield from (((first, first + 1), *box) for box in boxes_of_range(shape[1:], skipped,
                                                                         remaining))  # fmt: skip
        return
    if skipped:
        rest = boxes_of_range(shape[1:], skipped, below)
        yield from (((first, first + 1), *box) for box in rest)
        first += 1
    if first < last:
        yield ((first, last), *full(shape[1:]))
    if remaining:
        rest = boxes_of_range(shape[1:], 0, remaining)
        yield from (((last, last + 1), *box) for box in rest)
