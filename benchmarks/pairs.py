"""Ours and theirs in turn, each run in an empty folder that is removed right after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.meter import Command, measure

__all__ = ["Pairs", "Run", "Task", "alternate", "emptied", "run_in"]


@dataclass(frozen=True)
class Task:
    """Something to measure: ``command`` makes it for an empty folder that it may write into.

    ``value`` reads what the run found there, such as a perplexity.
    """

    command: Callable[[Path], Command]
    value: Callable[[Path], float] | None = None


@dataclass(frozen=True)
class Run:
    """One run of a task: seconds, peak bytes, and the value that it found."""

    seconds: float
    memory: int
    value: float | None = None


@dataclass(frozen=True)
class Pairs:
    """Runs in the order they were made; ``theirs`` is as long as ``ours``, or empty."""

    ours: tuple[Run, ...]
    theirs: tuple[Run, ...] = ()


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """``folder``, made anew and removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_in(folder: Path, task: Task) -> Run:
    """Run ``task`` once in the empty ``folder`` and leave there what it wrote."""
    cost = measure(task.command(folder), folder / "printed.log")
    value = task.value(folder) if task.value else None
    return Run(cost.seconds, cost.memory, value)


def alternate(ours: Task, theirs: Task | None, count: int, scratch: Path) -> Pairs:
    """``count`` runs of each. Who goes first changes from pair to pair, so that neither always
    inherits the other's dirty pages."""
    runs: dict[str, list[Run]] = {"ours": [], "theirs": []}
    for number in range(count):
        order = [("ours", ours), ("theirs", theirs)]
        for side, task in order if number % 2 == 0 else reversed(order):
            if task is not None:
                with emptied(scratch / "run") as folder:
                    runs[side].append(run_in(folder, task))
    return Pairs(tuple(runs["ours"]), tuple(runs["theirs"]))
