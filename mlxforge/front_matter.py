"""The front matter of a README.md, which anybody may have written.

It is the YAML between a first line of three dashes and the next. Read as a stream of events it is
never composed: no tag builds anything, no alias is followed, nothing recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

__all__ = ["LOADER", "front_matter_block", "yaml_events"]

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_BLOCK = re.compile(r"\s*---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


def front_matter_block(text: str) -> str | None:
    """What stands between the dashes, lines ending in ``\\n``; None where there are none."""
    block = _BLOCK.match(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    return None if block is None else block[1]


def yaml_events(block: str, most_levels: int) -> Iterator[Any]:
    """The events of PyYAML's parser.

    Raises yaml.YAMLError, ValueError (deeper than ``most_levels``, too) or OverflowError (of the
    parser in Python, which hands any ``\\U`` escape to ``chr``).
    """
    depth = 0
    for event in yaml.parse(block, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > most_levels:
            raise ValueError(f"it is nested more than {most_levels} levels deep")
        yield event
