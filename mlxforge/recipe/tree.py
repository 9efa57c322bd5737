"""The text of a recipe as a tree in which every value knows where it was written.

Positions live in the values, not in a map beside them: merging two files then moves each value
together with its origin, and nothing has to be kept in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlxforge.errors import Position

__all__ = ["Node", "Path", "find", "plain", "positions"]

Path = tuple[str | int, ...]


class Node(NamedTuple):
    """A scalar, a ``dict[str, Node]`` or a ``list[Node]``.

    ``key_at`` is where the value's key stands; for an item of a list and for the document it is
    ``at``. ``written`` is a scalar's own text: ``0.30`` where ``value`` is 0.3.

    A tuple, since thousands are made of a folder of recipes and a dataclass takes twice as long.
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


def positions(node: Node) -> Mapping[Path, Position]:
    """Path -> position for everything below ``node`` that somebody wrote."""
    return _Positions(node)


class _Positions(Mapping[Path, Position]):
    """Looked up in the tree: of all positions of a recipe hardly one is ever asked for."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getitem__(self, path: Path) -> Position:
        node, found = find(self._node, path)
        if not found or not path:
            raise KeyError(path)
        return node.at

    def __iter__(self) -> Iterator[Path]:
        return _paths(self._node.value, ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _paths(value: Any, above: Path) -> Iterator[Path]:
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        yield (*above, key)
        if isinstance(child.value, (dict, list)):
            yield from _paths(child.value, (*above, key))


def find(node: Node, path: Path) -> tuple[Node, bool]:
    """The node at ``path`` and True; or the nearest one above it that was written, and False."""
    for key in path:
        try:
            node = node.value[key]
        except (KeyError, IndexError, TypeError):
            return node, False
    return node, True
