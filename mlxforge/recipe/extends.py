"""Files and their parents: what ``extends`` means.

Mappings merge, lists and scalars replace. A ``source`` or ``text`` that names another kind of
origin (a path instead of a repository) replaces the inherited one as a whole: a revision of the
parent's repository would be nonsense beside the child's path.
"""

from __future__ import annotations

import os.path
from functools import reduce
from pathlib import Path

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.files import read_bytes
from mlxforge.recipe.schema import NOT_IN_DOCUMENT
from mlxforge.recipe.tree import Node
from mlxforge.recipe.words import printable, quoted, shown

__all__ = ["Shelf", "merge"]

_ORIGINS = ("path", "repo", "dataset")


class Shelf:
    """The files of one recipes folder, each read once. ``root`` is what positions start from."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._bytes: dict[Path, bytes] = {}
        self._read: dict[Path, Node] = {}
        self._folder_labels: dict[str, str] = {}

    def label(self, file: Path) -> str:
        folder, name = os.path.split(file)
        if folder not in self._folder_labels:
            self._folder_labels[folder] = os.path.relpath(folder, self.root)
        return printable(os.path.normpath(os.path.join(self._folder_labels[folder], name)))

    def start_of(self, file: Path) -> Position:
        return Position(self.label(file), 1, 1)

    def bytes_of(self, file: Path, wanted_at: Position | None = None) -> bytes:
        """What is in a file; ``wanted_at`` is blamed if there is no such file."""
        if file not in self._bytes:
            try:
                self._bytes[file] = read_bytes(file)
            except OSError as error:
                start = self.start_of(file)
                reason = error.strerror or "it cannot be read"
                message = f"cannot read {start.file}: {reason}"
                raise ForgeError(message, None, wanted_at or start) from None
        return self._bytes[file]

    def read(self, file: Path, wanted_at: Position | None = None) -> Node:
        """One file as it is written."""
        from mlxforge.recipe.reader import read  # PyYAML: for those who have to parse

        if file not in self._read:
            self._read[file] = read(self.bytes_of(file, wanted_at), self.label(file))
        return self._read[file]

    def merged(self, file: Path) -> Node:
        """One file laid over its parents."""
        merged: Node = reduce(merge, (self.read(link) for link in reversed(self.chain(file))))
        return merged

    def chain(self, file: Path) -> list[Path]:
        """A file, its parent, the parent's parent and so on."""
        chain = [file]
        trees = [self.read(file)]
        while parent := self._parent(chain[-1], trees[-1]):
            at = trees[-1].value["extends"].at
            if parent in chain:
                names = " -> ".join(self.label(link) for link in [*chain, parent])
                raise ForgeError(f"extends runs in a circle: {names}", None, at)
            trees.append(self.read(parent, at))
            chain.append(parent)
        return chain

    def _parent(self, file: Path, tree: Node) -> Path | None:
        node = tree.value.get("extends")
        if node is None or node.value is None:
            return None
        name, hint = node.value, "such as extends: _base.yaml"
        if not isinstance(name, str) or not name.endswith(".yaml") or not name.isprintable():
            shows = shown(name, node.written)
            raise ForgeError(f"extends is {shows}, not the name of a .yaml file", hint, node.at)
        parent = Path(os.path.normpath(file.parent / name))
        if not parent.is_relative_to(self.folder):
            hint = f"a parent lies in {self.label(self.folder)}/ or below"
            raise ForgeError(f"extends leaves the recipes: {quoted(name)}", hint, node.at)
        return parent


def merge(parent: Node, child: Node) -> Node:
    """``child`` laid over the document ``parent``."""
    inherited = {key: node for key, node in parent.value.items() if key not in NOT_IN_DOCUMENT}
    return _merge(Node(inherited, parent.at, parent.key_at), child)


def _merge(parent: Node, child: Node) -> Node:
    if not (isinstance(parent.value, dict) and isinstance(child.value, dict)):
        return child
    old, new = _origin(parent), _origin(child)
    if old and new and old != new:
        return child
    values = dict(parent.value)
    for key, node in child.value.items():
        values[key] = _merge(values[key], node) if key in values else node
    return Node(values, child.at, child.key_at)


def _origin(node: Node) -> set[tuple[str, str]]:
    """What the section takes its content from; another one makes the rest of it meaningless: a
    revision of one repository says nothing about another."""
    values = node.value
    return {
        (key, repr(values[key].value))
        for key in _ORIGINS
        if key in values and values[key].value is not None
    }
