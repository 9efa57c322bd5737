"""What a model says, made fit for a line of a terminal."""

from __future__ import annotations

from mlxforge.recipe.words import printable

__all__ = ["one_line"]

LONGEST = 160  # signs


def one_line(text: str) -> str:
    """At most ``LONGEST`` signs of it; a model may say anything, escape codes too."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
