"""Figures of a row: ours over theirs, pair by pair, and the target that the ratio must meet."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.pairs import Pairs

__all__ = ["Figure", "Target", "at_most", "memory", "value", "wall", "within"]


@dataclass(frozen=True)
class Target:
    """A ratio of at most ``limit``; ``around_one``: at most ``limit`` away from 1."""

    limit: float
    around_one: bool = False

    def met(self, ratio: float) -> bool:
        return abs(ratio - 1) <= self.limit if self.around_one else ratio <= self.limit

    def __str__(self) -> str:
        return f"1 ± {self.limit:g}" if self.around_one else f"≤ {self.limit:g}"


def at_most(limit: float) -> Target:
    return Target(limit)


def within(limit: float) -> Target:
    return Target(limit, around_one=True)


@dataclass(frozen=True)
class Figure:
    """One quantity of both sides in ``unit``; ``ours[i]`` and ``theirs[i]`` are a pair."""

    quantity: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    target: Target

    @property
    def ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios, which need not be the ratio of the medians."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.target.met(self.ratio)

    def amount(self, side: tuple[float, ...]) -> str:
        """The median of ``ours`` or ``theirs``, readable."""
        median = statistics.median(side)
        if self.unit == "s":
            return f"{median:.2f} s"
        return f"{median / 1e6:,.0f} MB" if self.unit == "bytes" else f"{median:#.5g}"

    def readable(self, ratio: float) -> str:
        """A ratio with as many digits as tell it from its target."""
        digits = 4 if self.target.around_one else 3 if self.target.limit < 0.1 else 2
        return f"{ratio:.{digits}f}"

    def __str__(self) -> str:
        return (
            f"{self.quantity}: {self.amount(self.ours)} against {self.amount(self.theirs)}, "
            f"ratio {self.readable(self.ratio)}, {self.target} {'met' if self.met else 'missed'}"
        )


def wall(pairs: Pairs, target: Target, quantity: str = "wall") -> Figure:
    """Wall time in seconds."""
    ours, theirs = ([run.seconds for run in side] for side in (pairs.ours, pairs.theirs))
    return Figure(quantity, "s", tuple(ours), tuple(theirs), target)


def memory(
    pairs: Pairs, target: Target, against: float | None = None, quantity: str = "memory"
) -> Figure:
    """Peak memory in bytes against theirs, or against a fixed number of bytes."""
    ours = tuple(float(run.memory) for run in pairs.ours)
    theirs = tuple(float(run.memory) for run in pairs.theirs)
    if against is not None:
        theirs = (against,) * len(ours)
    return Figure(quantity, "bytes", ours, theirs, target)


def value(quantity: str, pairs: Pairs, target: Target) -> Figure:
    """What the runs found, such as a perplexity, on both sides."""
    ours, theirs = ([run.value or 0.0 for run in side] for side in (pairs.ours, pairs.theirs))
    return Figure(quantity, "", tuple(ours), tuple(theirs), target)
