"""What a build shows while it runs: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from mlxforge.units import readable_rate

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Display", "make_display"]


class Display(Protocol):
    """Steps are known by their titles, such as ``quantize demo-4bit``. Called from any thread."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def note(self, text: str) -> None: ...
    def started(self, title: str) -> None: ...
    def advanced(self, title: str, done: int, total: int, unit: str) -> None: ...
    def finished(self, title: str, seconds: float) -> None: ...
    def failed(self, title: str, text: str) -> None: ...


def make_display() -> Display:
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Meter:
    """How fast a step goes. A step may count one thing after another: tokens, then samples."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._counted: list[tuple[str, int, float]] = []  # unit, done, seconds

    def advance(self, done: int, unit: str) -> bool:
        """Whether the step has begun to count another thing."""
        now = time.monotonic()
        new = not self._counted or self._counted[-1][0] != unit
        if new:
            if self._counted:
                self._since = now
            self._counted.append((unit, done, 0.0))
        self._counted[-1] = (unit, done, now - self._since)
        return new

    def rate(self) -> str:
        """The rate of what is being counted now."""
        unit, done, seconds = self._counted[-1]
        return readable_rate(done, seconds, unit) if seconds > 0.05 else ""

    def rates(self) -> str:
        """The rates of everything that was counted for long enough to tell."""
        told = [readable_rate(done, s, unit) for unit, done, s in self._counted if s > 0.05]
        return "".join(f", {rate}" for rate in told)


class _Lines:
    """One line when a step starts and one when it ends, on standard error."""

    def __init__(self) -> None:
        self._meters: dict[str, _Meter] = {}

    def open(self) -> None: ...
    def close(self) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def started(self, title: str) -> None:
        self._meters[title] = _Meter()
        self.note(f"{title} ...")

    def advanced(self, title: str, done: int, total: int, unit: str) -> None:
        self._meters[title].advance(done, unit)

    def finished(self, title: str, seconds: float) -> None:
        self.note(f"{title} done in {seconds:.1f} s{self._meters.pop(title).rates()}")

    def failed(self, title: str, text: str) -> None:
        self._meters.pop(title, None)
        self.note(f"{title} FAILED\n{text}")


class _Bars:
    """A bar per running step with its rate and the time that remains."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._bars: dict[str, tuple[TaskID, _Meter]] = {}
        self._guard = threading.Lock()

    def open(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()

    def close(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def note(self, text: str) -> None:
        if self._progress:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def started(self, title: str) -> None:
        if self._progress:
            task = self._progress.add_task(title, total=None, rate="")
            with self._guard:
                self._bars[title] = (task, _Meter())

    def advanced(self, title: str, done: int, total: int, unit: str) -> None:
        if self._progress and title in self._bars:
            task, meter = self._bars[title]
            if meter.advance(done, unit):
                self._progress.reset(task, total=total)
            self._progress.update(task, completed=done, total=total, rate=meter.rate())

    def _remove(self, title: str) -> None:
        with self._guard:
            task, _ = self._bars.pop(title)
        assert self._progress
        self._progress.remove_task(task)

    def finished(self, title: str, seconds: float) -> None:
        if self._progress and title in self._bars:
            self._remove(title)
            self._progress.console.print(f"[green]✓[/] {title}  [dim]{seconds:.1f} s[/]")

    def failed(self, title: str, text: str) -> None:
        if self._progress and title in self._bars:
            self._remove(title)
        if self._progress:
            self._progress.console.print(f"[red]✗[/] {title}")
        else:
            self.note(f"{title} FAILED")
        self.note(text)
