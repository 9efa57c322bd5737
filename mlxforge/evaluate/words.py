"""The words of a text, for comparing texts.

A word is what stands between white space. In the scripts that are written without spaces every
letter, mark and sign is a word; so is every character of what goes on for more than 256 characters
without a space, be it base64 or a genome. By this rule a text has the same words wherever it
stands in another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from mlxforge.errors import ForgeError

__all__ = ["first_words", "pieces", "together"]

PIECE = 1 << 18  # characters that are read at once
LONGEST_WORD = 256  # characters
LETTERS = 4  # a token is hardly ever more

SPACELESS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u109f"  # Tibetan, Burmese
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai scripts
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u2e80-\u2fff\u3001-\u312f\u31a0-\ua4cf"  # Chinese, Japanese, Yi, and their punctuation
    "\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff9f"  # their compatible and full-width forms
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # kana, Chinese
)
"""The scripts of Unicode's line breaking classes ID and SA (UAX #14), but for emoji."""

_STRETCH = re.compile(f"[{SPACELESS}]+")
_BETWEEN = re.compile(f"(?<=[{SPACELESS}]) (?=[{SPACELESS}])")
_LONG = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
_SPACE = re.compile(r"\s")


def pieces(path: Path) -> Iterator[tuple[str, int]]:
    """The text, whole words with one space between them, none of it empty, and how many bytes
    have been read. Raises ForgeError where it is not UTF-8."""
    rest, endless = "", False  # endless: what comes goes on with a word that was too long
    try:
        with path.open("rb") as stored:
            file = TextIOWrapper(stored, encoding="utf-8")
            while text := file.read(PIECE):
                text = _STRETCH.sub(_letters, text)
                found = ""
                if endless:
                    space = _SPACE.search(text)
                    end = space.start() if space else len(text)
                    found, text = " ".join(text[:end]), text[end:]
                    endless = not text
                text = rest + text
                cut = _last_word(text)
                text, rest = text[:cut], text[cut:]
                if len(rest) > LONGEST_WORD:
                    text, rest, endless = text + rest, "", True
                if words := f"{found} {_LONG.sub(_letters, text)}".split():
                    yield " ".join(words), stored.tell()
            if rest:
                yield rest, stored.tell()
    except UnicodeDecodeError as error:
        raise ForgeError(f"{path} is not UTF-8: {error.reason}") from None


def first_words(path: Path, most: int) -> str:
    """At most so many words, four of one character for one, a space between them."""
    found: list[str] = []
    left = most * LETTERS
    for piece, _ in pieces(path):
        for word in piece.split(" "):
            left -= 1 if len(word) == 1 else LETTERS
            if left < 0:
                return " ".join(found)
            found.append(word)
    return " ".join(found)


def together(words: str) -> str:
    """Words with one space between them, as scripts without spaces are written."""
    return _BETWEEN.sub("", words)


def _letters(found: re.Match[str]) -> str:
    return f" {' '.join(found[0])} "


def _last_word(text: str) -> int:
    """Where the last word begins, which may go on."""
    if text[-1:].isspace():
        return len(text)
    words = text.rsplit(maxsplit=1)
    return len(text) - len(words[-1]) if words else 0
