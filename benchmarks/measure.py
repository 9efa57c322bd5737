"""Ratios of two commands' wall times, measured in alternation."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ratio", "compare"]


@dataclass(frozen=True)
class Ratio:
    """Medians in seconds; ``ratio`` is the median of the pairs' ratios, with their extremes."""

    ours: float
    theirs: float
    ratio: float
    least: float
    most: float

    def __str__(self) -> str:
        return (
            f"ours {self.ours:.3f} s, theirs {self.theirs:.3f} s, "
            f"ratio {self.ratio:.2f} ({self.least:.2f} to {self.most:.2f})"
        )


def compare(
    ours: tuple[Sequence[str], Path], theirs: tuple[Sequence[str], Path], pairs: int = 9
) -> Ratio:
    """Run both commands, each in its folder, ``pairs`` times in turn after one warm-up."""
    _seconds(*ours), _seconds(*theirs)
    measured = [(_seconds(*ours), _seconds(*theirs)) for _ in range(pairs)]
    ratios = [mine / other for mine, other in measured]
    return Ratio(
        statistics.median(mine for mine, _ in measured),
        statistics.median(other for _, other in measured),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def _seconds(command: Sequence[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started
