"""The files that glob patterns mean: ``*`` stays in a folder, ``**`` is any number of them.

Whoever writes the patterns may want them to take long. None is compared with files that lie
elsewhere than its first, plain folders say, none is compared twice, none takes more than its
length times the path's, and in all there is an end.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

__all__ = ["MOST_COMPARED", "PatternFinder"]

MOST_COMPARED = 1_000_000
MOST_CHARACTERS = 1024

_WILD = re.compile(r"[*?\[]")
_Part = Callable[[str], object] | None  # None is **


class PatternFinder:
    """Finds patterns among ``paths``. Its methods raise ValueError with the reason where a
    pattern is too long or the patterns are too many for the files."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(paths)
        self._found: dict[str, Sequence[str]] = {}
        self._left = MOST_COMPARED

    def below(self, folder: str) -> Sequence[str]:
        """The files in a folder and in those below it, sorted; all of them for ``""``."""
        found = self._starting(f"{folder}/" if folder else "")
        self._count(len(found))
        return found

    def matching(self, pattern: str) -> Sequence[str]:
        """The files that ``pattern`` means, sorted."""
        pattern = pattern.removeprefix("./")
        if len(pattern) > MOST_CHARACTERS:
            raise ValueError(f"it holds a pattern of {len(pattern):,} characters")
        if pattern not in self._found:
            wild = _WILD.search(pattern)
            near = self._starting(pattern[: wild.start()] if wild else pattern)
            self._count(len(near))
            parts = _parts(pattern)
            self._found[pattern] = [path for path in near if _matches(path, parts)]
        found = self._found[pattern]
        self._count(len(found))
        return found

    def _starting(self, start: str) -> Sequence[str]:
        first = bisect_left(self._paths, start)
        last = bisect_left(self._paths, start + "\U0010ffff", first)
        return self._paths[first:last]

    def _count(self, files: int) -> None:
        self._left -= 1 + files
        if self._left < 0:
            raise ValueError(f"it holds too many patterns for its {len(self._paths):,} files")


def _parts(pattern: str) -> list[_Part]:
    """What matches each folder and the name."""
    parts: list[_Part] = []
    for part in pattern.split("/"):
        if part != "**":
            parts.append(re.compile(translate(part)).match if _WILD.search(part) else part.__eq__)
        elif not parts or parts[-1] is not None:
            parts.append(None)
    return parts


def _matches(path: str, parts: Sequence[_Part]) -> bool:
    """Whether the path leads from the first of the pattern's places to behind the last."""
    places = _after(parts, {0})
    for name in path.split("/"):
        passed: set[int] = set()
        for place in places:
            if place == len(parts):
                continue
            if (part := parts[place]) is None:
                passed.add(place)
            elif part(name):
                passed.add(place + 1)
        if not passed:
            return False
        places = _after(parts, passed)
    return len(parts) in places


def _after(parts: Sequence[_Part], places: set[int]) -> set[int]:
    """``places``, and where no folder at all leads from them; no ``**`` follows another."""
    behind = {place + 1 for place in places if place < len(parts) and parts[place] is None}
    return places | behind
