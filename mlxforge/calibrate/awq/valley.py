"""The least of a function on a square grid that has one valley, by few looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Place", "lowest"]

Place = tuple[int, int]
AT_ONCE = 4  # places; a line ends where so many and more are behind its least one
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def lowest(measure: Callable[[Sequence[Place]], Sequence[float]], size: int) -> Place:
    """Of the places (0, 0) to (size - 1, size - 1) one that none of its neighbours is below.

    Along the first axis from (0, 0), from the least one there along the second, and from then on
    to whichever neighbour is least. ``measure`` is given places that it has not seen.
    """
    known: dict[Place, float] = {}

    def look(places: Sequence[Place]) -> None:
        new = [at for at in places if at not in known and 0 <= min(at) <= max(at) < size]
        known.update(zip(new, measure(new), strict=True))

    def least() -> Place:
        return min(known, key=known.__getitem__)

    def along(line: Sequence[Place]) -> Place:
        for start in range(0, size, AT_ONCE):
            look(line[start : start + AT_ONCE])
            if start and least() not in line[start:]:
                break
        return least()

    first, _ = along([(at, 0) for at in range(size)])
    best = along([(first, at) for at in range(size)])
    while True:
        look([(best[0] + x, best[1] + y) for x, y in AROUND])
        if (found := least()) == best:
            return best
        best = found
