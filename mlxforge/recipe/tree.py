"""The text of a recipe as a tree in which every value knows where it was written.

Positions live in the values, not in a map beside them: merging two files then moves each value
together with its origin, and nothing has to be kept in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxforge.errors import Position

__all__ = ["Node", "Path", "find", "plain", "positions"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a ``dict[str, Node]`` or a ``list[Node]``.

    ``key_at`` is where the value's key stands; for an item of a list and for the document it is
    ``at``. ``written`` is a scalar's own text: ``0.30`` where ``value`` is 0.3.
    """

    value: Any
    at: Position
    key_at: Position
    written: str = ""


def plain(node: Node) -> Any:
    """The same data without positions, free to change."""
    value = node.value
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value


def positions(node: Node) -> dict[Path, Position]:
    """Path -> position for everything below ``node`` that somebody wrote."""
    found: dict[Path, Position] = {}

    def walk(children: dict[str, Node] | list[Node], above: Path) -> None:
        items = children.items() if isinstance(children, dict) else enumerate(children)
        for key, child in items:
            here = (*above, key)
            found[here] = child.at
            if isinstance(child.value, (dict, list)):
                walk(child.value, here)

    walk(node.value, ())
    return found


def find(node: Node, path: Path) -> tuple[Node, bool]:
    """The node at ``path`` and True; or the nearest one above it that was written, and False."""
    for key in path:
        try:
            node = node.value[key]
        except (KeyError, IndexError, TypeError):
            return node, False
    return node, True
