"""How work reports that it goes on."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    def __call__(self, done: int, total: int, unit: str) -> None:
        """``done`` of ``total`` units of work are finished. May be called as often as wanted."""
