"""How many bytes a model keeps of the tokens that it has read, by their number; needs no MLX.

Known at a few numbers of tokens, between which it is linear: attention over everything grows with
every token, a sliding window grows until it is full, a state-space layer does not grow at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["STEP", "CacheBytes"]

STEP = 256
"""Tokens for which mlx_lm's caches make room at once."""


@dataclass(frozen=True)
class CacheBytes:
    """``points``: (tokens, bytes), tokens in multiples of ``STEP``, ascending, two at least. After
    the last it goes on as between the last two."""

    points: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, points: Sequence[Sequence[int]]) -> CacheBytes:
        return cls(tuple((tokens, size) for tokens, size in points))

    def at(self, tokens: int) -> int:
        """Bytes after ``tokens`` tokens."""
        tokens = -(-tokens // STEP) * STEP
        later = [place for place, (known, _) in enumerate(self.points) if known >= tokens]
        place = max(1, later[0] if later else len(self.points) - 1)
        (start, least), (stop, most) = self.points[place - 1 : place + 1]
        if tokens <= start:
            return least
        return least + (most - least) * (tokens - start) // (stop - start)

    def most_tokens(self, budget: int, limit: int) -> int:
        """The largest number of tokens up to ``limit`` whose cache takes ``budget`` bytes at most;
        0 where there is none. Other numbers than ``limit`` are multiples of ``STEP``."""
        if self.at(limit) <= budget:
            return limit
        fits, beyond = 0, -(-limit // STEP)
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            fits, beyond = (middle, beyond) if self.at(middle * STEP) <= budget else (fits, middle)
        return fits * STEP
