"""The front matter of a data set's card: YAML that anybody may have written."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["MOST_BYTES", "front_matter"]

MOST_BYTES = 5 << 20
MOST_LEVELS = 32

_BETWEEN_DASHES = re.compile(r"\s*---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


def front_matter(card: bytes) -> dict[str, Any]:
    """What stands between the first two lines of dashes; empty where that is no mapping.

    Raises ValueError with the reason where it is not plain YAML: tags, aliases, and nesting that
    the parser would not survive are refused.
    """
    text = card.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    found = _BETWEEN_DASHES.match(text)
    if found is None:
        return {}
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_plain(found[1], loader)
        document = yaml.load(found[1], loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"its front matter is not plain YAML: {problem}") from None
    return document if isinstance(document, dict) else {}


def _check_plain(text: str, loader: Any) -> None:
    """By events, which are not nested: the parser's own composer recurses in C."""
    depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds an alias")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_LEVELS:
            raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
