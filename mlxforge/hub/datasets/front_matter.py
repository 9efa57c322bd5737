"""The front matter of a data set's card: YAML that anybody may have written."""

from __future__ import annotations

from typing import Any

import yaml

from mlxforge.front_matter import LOADER, front_matter_block, yaml_events

__all__ = ["MOST_BLOCK", "MOST_BYTES", "front_matter"]

MOST_BYTES = 5 << 20
"""Of a card."""

MOST_BLOCK = 1 << 20
"""Bytes of its front matter: twice what two thousand configurations need."""

MOST_LEVELS = 32
MOST_DIGITS = 1000


def front_matter(card: bytes) -> dict[str, Any]:
    """What stands between the first two lines of dashes; empty where that is no mapping.

    Raises ValueError with the reason where it is too long or not plain YAML: tags, aliases, and
    nesting that the parser would not survive are refused.
    """
    block = front_matter_block(card.decode("utf-8-sig", errors="replace"))
    if block is None:
        return {}
    if (size := len(block.encode())) > MOST_BLOCK:
        raise ValueError(f"its front matter has {size:,} bytes, more than {MOST_BLOCK:,}")
    try:
        _check_plain(block)
        document = yaml.load(block, LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"its front matter is not plain YAML: {problem}") from None
    return document if isinstance(document, dict) else {}


def _check_plain(block: str) -> None:
    """By events, which are not nested: the parser's own composer recurses in C."""
    for event in yaml_events(block, MOST_LEVELS):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds an alias")
        text = event.value if isinstance(event, yaml.ScalarEvent) else ""
        # 1:1:1… is a number to base 60, which takes the square of its length to read
        if len(text) > MOST_DIGITS and not text.strip("+-.:_0123456789"):
            raise ValueError(f"it holds a number of {len(text):,} characters")
