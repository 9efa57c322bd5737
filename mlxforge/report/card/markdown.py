"""Text that came from elsewhere, put into Markdown so that it stays text.

Escapes are character references, not backslashes: renderers differ on a backslash before a ``|``
in a table, and none takes ``&#124;`` for structure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import quote

__all__ = ["code", "escaped", "fenced", "folded", "link", "one_line", "table"]

_MEANT = re.compile(
    r"[&<>\\`*\[\]#|~$@]"  # structure, HTML, formulas, mentions
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis begins and ends at a word's edge
    r"|:(?=//)|(?<=www)\.",  # bare addresses become links
    re.IGNORECASE,
)
_NOT_IN_CODE = re.compile(r"[`|\\<>&$]")
_NOT_IN_TEXT = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
# what an address keeps (RFC 3986), but the round brackets, which would end Markdown's link
_IN_ADDRESSES = "%:/?#[]@!$&'*+,;=~"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """``text`` without line breaks; U+FFFD for what cannot be shown, surrogates too."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else _REPLACED for sign in line)


def escaped(text: str) -> str:
    """One line that reads as ``text`` wherever it stands but at a line's beginning."""
    return _MEANT.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def code(text: str) -> str:
    """A code span; plain escaped text where the span could not hold it."""
    line = one_line(text)
    return f"`{line}`" if line and not _NOT_IN_CODE.search(line) else escaped(line)


def link(text: str, target: str) -> str:
    """``target`` is an address, or the name of a file beside the card."""
    line = one_line(target)
    address = quote(line, safe=_IN_ADDRESSES) if line.startswith("https://") else quote(line)
    return f"[{escaped(text)}]({address})"


def fenced(text: str, language: str = "") -> str:
    """A block of code that ends where ``text`` ends, whatever fences are in it."""
    block = _NOT_IN_TEXT.sub(_REPLACED, text.replace("\r\n", "\n").replace("\r", "\n"))
    longest = max((len(run) for run in re.findall("`+", block)), default=0)
    lines = block.rstrip("\n")
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def folded(title: str, *parts: str) -> str:
    """``parts``, Markdown each, folded away under ``title``."""
    # without the blank lines the parts would be read as HTML
    return "\n\n".join([f"<details>\n<summary>{escaped(title)}</summary>", *parts, "</details>"])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Cells are Markdown already; the columns numbered in ``right`` are right-aligned.

    Raises ValueError for a row with more or fewer cells than ``heads``.
    """
    rules = ["--:" if number in right else "---" for number in range(len(heads))]
    lines = []
    for row in (heads, rules, *rows):
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells under {len(heads)} heads")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)
