"""Discussions and pull requests: a pull request is one with a branch, ``refs/pr/NUMBER``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Discussion"]


@dataclass
class Discussion:
    """``status`` is draft, open, closed or merged; ``events`` are as the Hub tells them."""

    number: int
    title: str
    author: str
    date: str
    is_pull_request: bool
    status: str = "open"
    merged_as: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"

    def tell(self, kind: str, date: str, **data: object) -> dict[str, Any]:
        """Add an event; the event."""
        event = {
            "id": f"{self.number:08x}{len(self.events):08x}",
            "type": kind,
            "createdAt": date,
            "author": {"name": self.author},
            "data": data,
        }
        self.events.append(event)
        return event

    def comment(self, text: str, date: str) -> dict[str, Any]:
        latest = {"raw": text, "html": text, "updatedAt": date, "author": {"name": self.author}}
        return self.tell(
            "comment", date, edited=False, hidden=False, latest=latest, history=[latest]
        )

    def become(self, status: str, date: str) -> dict[str, Any]:
        self.status = status
        return self.tell("status-change", date, status=status)
