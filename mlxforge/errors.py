"""What a user is told when something cannot go on: one small family of errors."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ForgeError", "Position", "did_you_mean"]


@dataclass(frozen=True, order=True)
class Position:
    """Where a value was written: a file as the user knows it, line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class ForgeError(Exception):
    """Something that the user can mend.

    ``message`` says what is wrong and shows the value, ``hint`` says what would work, ``at`` is
    the place in the user's own text. A step knows no recipe: of a value that came from the
    section it was made for, it tells the ``key``. Printed as one or two lines; never with a trace.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        at: Position | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at
        self.key = key

    def __str__(self) -> str:
        line = f"{self.at}: {self.message}" if self.at else self.message
        return f"{line}\n  {self.hint}" if self.hint else line


def did_you_mean(word: str, known: list[str]) -> str | None:
    """``did you mean 'x'?`` for the closest of ``known``, or None where nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
