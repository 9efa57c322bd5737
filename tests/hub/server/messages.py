"""A request as it came, and what is said to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from tests.hub.server.misbehaviour import Misbehaviour

__all__ = ["Answer", "Line", "Refusal", "Request", "as_json"]


class Line(str):
    """``METHOD path``, the path still quoted; ``answered``: with bytes of a file."""

    answered = False


@dataclass(frozen=True)
class Request:
    line: Line
    query: Mapping[str, list[str]]
    headers: Message
    content: IO[bytes]
    trouble: Misbehaviour | None = None

    @property
    def path(self) -> str:
        return self.line.split(" ", 1)[1]

    @property
    def token(self) -> str | None:
        return self.headers.get("Authorization")

    def asked(self, key: str, default: str = "") -> str:
        """One value of the query."""
        return self.query.get(key, [default])[0]

    def body(self) -> bytes:
        self.content.seek(0)
        return self.content.read()

    def json(self) -> Any:
        return json.loads(self.body() or b"{}")


@dataclass(frozen=True)
class Answer:
    """``content`` is sent from byte ``first`` up to ``stop``; ``name`` is a file's path."""

    status: int
    content: bytes | Path
    stop: int
    headers: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    name: str | None = None


class Refusal(Exception):
    """``code`` and ``message`` are what the client looks at; ``more`` goes beside the error."""

    def __init__(
        self,
        status: int,
        code: str = "",
        message: str = "refused",
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> None:
        said = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = as_json({"error": message, **more}, status, said | dict(headers or {}))


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = json.dumps(value).encode()
    said = {"Content-Type": "application/json"} | dict(headers or {})
    return Answer(status, content, len(content), said)
