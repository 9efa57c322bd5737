"""How values and choices are put into messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlxforge.errors import did_you_mean

__all__ = ["choice", "dotted", "one_of", "printable", "quoted", "shown"]

LONGEST = 60


def printable(text: str) -> str:
    """``text`` on one line: a file's name may hold anything but a slash."""
    return text if text.isprintable() else repr(text)[1:-1]


def quoted(text: str) -> str:
    """In quotes, on one line, shortened, with control characters escaped."""
    return repr(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def shown(value: Any, written: str = "") -> str:
    """A value as its author would recognise it: numbers keep the text they were written in."""
    match value:
        case None:
            return "empty"
        case str():
            return quoted(value)
        case dict():
            return "a mapping"
        case list():
            return "a list" if value else "an empty list"
        case bool():
            return "true" if value else "false"
        case _:
            return written or str(value)


def one_of(values: Iterable[Any]) -> str:
    return "one of " + ", ".join(str(value) for value in values)


def choice(word: Any, known: Iterable[Any]) -> str:
    """What to write instead of ``word``: the one that was probably meant, or all there are."""
    known = [str(value) for value in known]
    return (did_you_mean(word, known) if isinstance(word, str) else None) or one_of(known)


def dotted(path: Iterable[str | int]) -> str:
    """``quantize.overrides[0].bits``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text
