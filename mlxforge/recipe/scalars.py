"""What an unquoted YAML scalar means here: far less than YAML 1.1 would have it mean.

``null``, ``true``, ``false``, decimal numbers; all else is text. ``no``, ``on``, ``12:30:00``,
``2024-01-01``, ``0x10`` and ``1_000`` are text, since nobody who writes them in a recipe means
what YAML 1.1 reads. What two readers could take for different numbers (``010``) is refused.
"""

from __future__ import annotations

import math
import re

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.words import quoted

__all__ = ["Scalar", "resolve"]

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MOST_DIGITS = 18
_QUOTE_IT = "put it in quotes if it is text"


def resolve(text: str, at: Position) -> Scalar:
    """The value of an unquoted scalar; ForgeError at ``at`` for a number that cannot be meant."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        _refuse_leading_zero(text, at)
        if len(text) > _MOST_DIGITS:
            raise ForgeError(f"the number {quoted(text)} is too long", _QUOTE_IT, at)
        return int(text)
    if _FLOAT.fullmatch(text):
        _refuse_leading_zero(text, at)
        if math.isfinite(number := float(text)):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise ForgeError(f"{quoted(text)} is not a finite number", _QUOTE_IT, at)


def _refuse_leading_zero(text: str, at: Position) -> None:
    if _LEADING_ZERO.match(text):
        raise ForgeError(f"the number {quoted(text)} has a leading zero", _QUOTE_IT, at)
