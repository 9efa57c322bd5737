"""Sums over what comes into a layer, a panel of their rows for each piece of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from mlxforge.models.writing.parallel import cores, in_order

__all__ = ["PANEL", "by_panels"]

PANEL = 256  # rows


def by_panels(add: Callable[[int], None], size: int) -> None:
    """``add`` with the first row of every panel of ``size`` rows, on all cores."""
    jobs = (partial(add, at) for at in range(0, size, PANEL))
    deque(in_order(jobs, cores()), maxlen=0)
