"""What goes wrong on command, for so many requests, and is well again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["IN_BODIES", "IN_REQUESTS", "Kind", "Misbehaviour", "Misbehaviours"]

Kind = Literal["status", "cut", "lost", "stalled", "silent", "wrong", "moving", "altering"]
IN_BODIES: frozenset[Kind] = frozenset({"cut", "stalled", "wrong"})
IN_REQUESTS: frozenset[Kind] = frozenset({"status", "lost", "silent", "moving", "altering"})


@dataclass
class Misbehaviour:
    """Of requests that begin as ``request`` (``GET /acme``, or ``/acme`` for any method), the
    first ``times`` (None: all) go wrong:

    - ``status``: refused with ``status``, ``code`` and, in seconds, ``retry_after``
    - ``cut``: the connection is closed half-way through the body, theirs where they send one
    - ``lost``: done, but the connection is closed instead of an answer
    - ``stalled``: nothing goes on from the middle of the body until ``release``
    - ``silent``: done, but the answer does not come until ``release``
    - ``wrong``: a file is sent with other bytes of the same length
    - ``moving``: a commit is told when another one is already on top of it
    - ``altering``: a commit keeps other bytes of the same length for ``path``
    """

    request: str
    kind: Kind
    times: int | None = 1
    status: int = 503
    code: str = ""
    message: str = "the Hub is under maintenance"
    retry_after: int | None = None
    path: str = ""
    met: int = 0  # requests that went wrong
    lasts: Callable[[], bool] | None = None
    _released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        self._released.set()

    @property
    def held(self) -> bool:
        return self.lasts() if self.lasts else not self._released.is_set()

    def meets(self, line: str) -> bool:
        path = line.split(" ", 1)[1]
        left = self.times is None or self.met < self.times
        return left and (line.startswith(self.request) or path.startswith(self.request))


class Misbehaviours:
    """All that is to go wrong: what was ordered, and what lasts until it is taken out of a set.

    Paths in ``wrong`` are served with other bytes of the same length, those in ``cut`` break off
    half-way once; those in ``stalled`` stop half-way until it is emptied; requests that begin as
    one in ``failing`` get a 503. Such paths are the last parts of paths.
    """

    def __init__(self) -> None:
        self.ordered: list[Misbehaviour] = []
        self.wrong: set[str] = set()
        self.cut: set[str] = set()
        self.stalled: set[str] = set()
        self.failing: set[str] = set()
        self.guard = threading.RLock()

    def misbehave(
        self, request: str, kind: Kind, times: int | None = 1, **details: Any
    ) -> Misbehaviour:
        """Let the next ``times`` requests that begin as ``request`` go wrong."""
        ordered = Misbehaviour(request, kind, times, **details)
        self.ordered.append(ordered)
        return ordered

    def trouble(self, line: str, kinds: Collection[Kind]) -> Misbehaviour | None:
        """What of ``kinds`` happens to a request now."""
        with self.guard:
            for found in self.ordered:
                if found.kind in kinds and found.meets(line):
                    found.met += 1
                    return found
            if "status" in kinds and line.startswith(tuple(self.failing)):
                return Misbehaviour(line, "status")
        return None

    def trouble_with(self, line: str, name: str) -> Misbehaviour | None:
        """What happens to the file ``name`` while it is sent."""
        if name in self.wrong:
            return Misbehaviour(line, "wrong")
        if name in self.stalled:
            return Misbehaviour(line, "stalled", lasts=lambda: name in self.stalled)
        if name in self.cut:
            self.cut.discard(name)
            return Misbehaviour(line, "cut")
        return self.trouble(line, IN_BODIES)
