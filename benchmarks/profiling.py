"""A command turned into the same work under Python's profiler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.meter import Command

__all__ = ["PROGRAMS", "profiled"]

PROGRAMS = Path(__file__).parent / "programs"


def profiled(command: Command, report: Path) -> Command:
    """``command`` under cProfile; the ten functions with the most time of their own go to
    ``report``. Steps and plain scripts can be profiled, ``-m`` programs of others cannot."""
    words = () if command.line is not None else command.words
    return replace(command, words=(str(PROGRAMS / "profiled.py"), str(report), *words))
