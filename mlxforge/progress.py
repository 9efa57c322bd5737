"""How work reports that it goes on, and how fast it went."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Meter", "Progress", "Work"]

DIGITS = 6  # of seconds


class Progress(Protocol):
    def __call__(self, done: int, total: int, unit: str) -> None:
        """``done`` of ``total`` units of work are finished. May be called as often as wanted."""


@dataclass(frozen=True)
class Work:
    """So much was done in so many seconds."""

    done: int
    seconds: float


class Meter:
    """Listens to a step's progress. What a step does before it first tells of a unit (it starts,
    finds half a download there) is no part of its rate."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._first: dict[str, tuple[int, float]] = {}
        self._last: dict[str, tuple[int, float]] = {}

    def __call__(self, done: int, total: int, unit: str) -> None:
        told = (done, time.monotonic())
        self._first.setdefault(unit, told)
        self._last[unit] = told
        self._progress(done, total, unit)

    def work(self) -> dict[str, Work]:
        """By unit, of what was told of twice, and not in the same moment."""
        found = {}
        for unit, (start, began) in self._first.items():
            done, ended = self._last[unit]
            seconds = round(ended - began, DIGITS)
            if done > start and seconds > 0:
                found[unit] = Work(done - start, seconds)
        return found
