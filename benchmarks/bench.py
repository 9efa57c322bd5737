"""What a row is, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.inputs import Input, Scratch
from benchmarks.meter import measure
from benchmarks.pairs import Pairs, Run, Task, alternate, emptied, run_in
from benchmarks.profiling import profiled

__all__ = ["Bench", "Outcome", "Row"]


@dataclass(frozen=True)
class Outcome:
    """``ours`` is what is profiled where a target is missed."""

    ours: Task
    pairs: tuple[Pairs, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


@dataclass
class Bench:
    """For one row; what it makes is removed when the ``with`` block ends."""

    scratch: Scratch
    pairs: int
    tell: Callable[[str], None] = lambda line: None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def input(self, wanted: Input) -> Path:
        """The folder of an input, made now where it is not there yet."""
        return self.scratch.folder(wanted, self.tell)

    def folder(self, name: str) -> Path:
        """An empty folder of the row's own."""
        return self._stack.enter_context(emptied(self.scratch.work / name))

    def make(self, task: Task, name: str) -> tuple[Path, Run]:
        """Run ``task`` once, not compared with anything: where it wrote, and what it cost."""
        folder = self.folder(name)
        return folder, run_in(folder, task)

    def alternate(self, ours: Task, theirs: Task | None = None) -> Pairs:
        """As many pairs as asked for."""
        return alternate(ours, theirs, self.pairs, self.scratch.work)

    def profile(self, task: Task) -> list[str]:
        """Where ``task`` spends its time: the functions with the most of their own."""
        with emptied(self.scratch.work / "run") as folder:
            report = folder / "profile.txt"
            measure(profiled(task.command(folder), report), folder / "printed.log")
            return report.read_text().splitlines()


@dataclass(frozen=True)
class Row:
    """``about`` says what is compared with what; ``room`` bytes are needed for what it writes."""

    name: str
    about: str
    run: Callable[[Bench], Outcome]
    inputs: tuple[Input, ...] = ()
    room: int = 0
