"""Bytes of a YAML file -> Node tree. Whatever the bytes are, the outcome is a tree or a ForgeError.

Built from parser events, not from PyYAML's composed nodes: only events show anchors, and they
let us stop at a depth before anything recurses (libyaml's composer recurses in C).
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Any, NoReturn

import yaml

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.files import MOST_BYTES
from mlxforge.recipe.scalars import Scalar, resolve
from mlxforge.recipe.tree import Node
from mlxforge.recipe.words import quoted

__all__ = ["MOST_BYTES", "read"]

MOST_LEVELS = 32
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read(data: bytes, file: str) -> Node:
    """The document in ``data``: a mapping. ``file`` is what positions call it.

    Refused, with the position: bytes that are not UTF-8, control characters, broken YAML,
    several documents, anchors, aliases, tags, merge keys, duplicate keys, keys that are not text.
    """
    text = _decode(data, file)
    # The C parser is ten times faster; not every build of PyYAML has it.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(loader(text).get_event, file).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure Python scanner hands any \U escape to chr().
        hint = "look for an escape such as \\UFFFFFFFF"
        raise ForgeError("this is not YAML", hint, Position(file, 1, 1)) from None


class _Builder:
    """``event`` gives the next event; their kinds are told apart by their type itself."""

    def __init__(self, event: Callable[[], Any], file: str) -> None:
        self.event = event
        self.file = file

    def document(self) -> Node:
        self.event()  # the stream's start
        if type(event := self.event()) is yaml.StreamEndEvent:
            raise ForgeError("the file is empty", None, Position(self.file, 1, 1))
        node = self.node(self.event(), depth=0)
        self.event()  # the document's end
        if type(event := self.event()) is not yaml.StreamEndEvent:
            self.fail(event, "a second document begins here", "one recipe, one file")
        if not isinstance(node.value, dict):
            hint = "a recipe begins with a key, such as source:"
            raise ForgeError("this is not a mapping", hint, node.at)
        return node

    def node(self, event: Any, key_at: Position | None = None, depth: int = 0) -> Node:
        if event.anchor is not None or event.tag is not None:
            self.refuse_marked(event)
        mark = event.start_mark
        at = Position(self.file, mark.line + 1, mark.column + 1)
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return Node(self.scalar(event, at), at, key_at or at, event.value)
        if depth == MOST_LEVELS:
            self.fail(event, f"nested more than {MOST_LEVELS} levels deep")
        if kind is yaml.MappingStartEvent:
            return Node(self.mapping(depth + 1), at, key_at or at)
        return Node(self.items(depth + 1), at, key_at or at)

    def refuse_marked(self, event: Any) -> NoReturn:
        if event.anchor is not None:  # an alias has the anchor that it means
            self.fail(event, "anchors and aliases are not for recipes", "use extends or a matrix")
        self.fail(event, f"the tag {quoted(event.tag)} is not for recipes", "leave it out")

    def scalar(self, event: Any, at: Position) -> Scalar:
        text: str = event.value
        if event.style in (None, ""):
            return resolve(text, at)
        if odd := _FORBIDDEN.search(text):  # "\0" and the like
            self.fail(event, f"the text holds the character {quoted(odd[0])}")
        return text

    def items(self, depth: int) -> list[Node]:
        found = []
        while type(event := self.event()) is not yaml.SequenceEndEvent:
            found.append(self.node(event, depth=depth))
        return found

    def mapping(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while type(event := self.event()) is not yaml.MappingEndEvent:
            key, at, _, _ = self.node(event, depth=depth)
            if not isinstance(key, str):
                self.fail(event, "a key must be text", "put it in quotes")
            if key == "<<" and event.style in (None, ""):
                self.fail(event, "merge keys (<<) are not for recipes", "use extends")
            if first := found.get(key):
                hint = f"first on line {first.key_at.line}"
                self.fail(event, f"the key {quoted(key)} is written twice", hint)
            found[key] = self.node(self.event(), at, depth)
        return found

    def fail(self, event: Any, message: str, hint: str | None = None) -> NoReturn:
        mark = event.start_mark
        raise ForgeError(message, hint, Position(self.file, mark.line + 1, mark.column + 1))


def _decode(data: bytes, file: str) -> str:
    if len(data) > MOST_BYTES:
        hint = f"a recipe may have {MOST_BYTES:,} bytes"
        raise ForgeError("the file is too large for a recipe", hint, Position(file, 1, 1))
    data = data.removeprefix(BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise ForgeError(message, "save the file as UTF-8", _end_of(before, file)) from None
    if odd := _FORBIDDEN.search(text):
        at = _end_of(text[: odd.start()], file)
        raise ForgeError(f"the character {quoted(odd[0])} is not for recipes", None, at)
    return text


def _end_of(text: str, file: str) -> Position:
    """Where the character after ``text`` stands."""
    return Position(file, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> ForgeError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    problem = error.problem or error.context or "no more is known"
    hint = None
    if "".join(text.splitlines()[line : line + 1])[column : column + 1] == "\t":
        hint = "indent with spaces, not with tabs"
    elif problem.startswith("mapping values"):
        hint = "put text that contains ': ' in quotes"
    return ForgeError(f"this is not YAML: {problem}", hint, Position(file, line + 1, column + 1))
