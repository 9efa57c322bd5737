"""A document on its way to a Recipe: its values, and where each was written."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.tree import Node, find

__all__ = ["Draft"]


@dataclass(frozen=True)
class Draft:
    """``document`` is complete, defaults and all; ``tree`` is what was written of it."""

    document: dict[str, Any]
    tree: Node
    root: Path

    def at(self, *path: str | int) -> Position:
        """Where a value was written; for a default, where the nearest mapping around it was."""
        return find(self.tree, path)[0].at

    def key_at(self, *path: str | int) -> Position:
        return find(self.tree, path)[0].key_at

    def wrote(self, *path: str | int) -> bool:
        """Whether somebody wrote a value, and not null, which is the same as nothing."""
        node, found = find(self.tree, path)
        return found and node.value is not None

    def written(self, *path: str | int) -> str:
        return find(self.tree, path)[0].written

    def resolved(self, *path: str | int) -> Path:
        """A path in the recipe, made absolute: it is relative to the file where it stands."""
        node, _ = find(self.tree, path)
        beside = os.path.join(self.root, os.path.dirname(node.at.file))
        return Path(os.path.normpath(os.path.join(beside, node.value)))

    def misplaced(self, message: str, hint: str | None, *path: str | int) -> ForgeError:
        """An error at a key, not at its value: the key is what should not be there."""
        return ForgeError(message, hint, self.key_at(*path))
