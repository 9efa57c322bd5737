"""``matrix`` and ``name``: one document for each combination of values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import PurePosixPath

from mlxforge.errors import ForgeError
from mlxforge.recipe.tree import Node
from mlxforge.recipe.words import choice, dotted, quoted

__all__ = ["expand"]

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_FILLED_IN = (("upload", "repo"), ("upload", "branch"))


def expand(tree: Node, own: Node) -> Iterator[tuple[str | None, Node]]:
    """``(name, document)`` for each combination; ``(None, document)`` without a matrix.

    ``tree`` is the merged document, checked against the schema; ``own`` is the file alone. A value
    from the matrix keeps its position in the matrix.
    """
    axes = _axes(tree)
    pattern = tree.value.get("name")
    if not axes:
        if pattern and pattern.value is not None:
            hint = "a recipe is called what its file is called; name belongs to a matrix"
            raise ForgeError("name without a matrix", hint, pattern.key_at)
        yield None, _filled_in(tree, {})
        return
    pattern = _checked_name(pattern, axes, tree.value["matrix"])
    _refuse_set_twice(axes, own)
    for combination in product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        variables = {key: str(node.value) for key, node in values.items()}
        yield _text(pattern, "name", variables), _filled_in(_with(tree, values), variables)


def _axes(tree: Node) -> dict[str, list[Node]]:
    matrix = tree.value.get("matrix")
    if matrix is None or matrix.value is None:
        return {}
    return {key: node.value for key, node in matrix.value.items() if node.value is not None}


def _checked_name(pattern: Node | None, axes: Mapping[str, list[Node]], matrix: Node) -> Node:
    stem = PurePosixPath(matrix.at.file).stem
    example = "-".join([stem, *(f"${{{key}}}" for key in axes)])
    if pattern is None or pattern.value is None:
        raise ForgeError("the matrix has no name", f'such as name: "{example}"', matrix.key_at)
    used = _VARIABLE.findall(pattern.value)
    for key in axes:
        if key not in used:
            hint = f'every key of the matrix tells the recipes apart: "{example}"'
            raise ForgeError(f"name lacks ${{{key}}}", hint, pattern.at)
    return pattern


def _refuse_set_twice(axes: Mapping[str, list[Node]], own: Node) -> None:
    quantize = own.value.get("quantize")
    for key in axes:
        if quantize and quantize.value and key in quantize.value:
            hint = "leave it out here, or in the matrix"
            at = quantize.value[key].key_at
            raise ForgeError(f"quantize.{key} is set by the matrix too", hint, at)


def _with(tree: Node, values: Mapping[str, Node]) -> Node:
    """``tree`` with ``values`` in its ``quantize``."""
    old = tree.value.get("quantize") or tree.value["matrix"]
    inherited = tree.value["quantize"].value or {} if "quantize" in tree.value else {}
    quantize = Node({**inherited, **values}, old.at, old.key_at)
    return Node({**tree.value, "quantize": quantize}, tree.at, tree.key_at)


def _filled_in(tree: Node, variables: Mapping[str, str]) -> Node:
    """``tree`` with the variables replaced where they mean something."""
    for section, key in _FILLED_IN:
        above = tree.value.get(section)
        node = above.value.get(key) if above and above.value else None
        if node and node.value and "${" in node.value:
            text = _text(node, dotted((section, key)), variables)
            below = {**above.value, key: Node(text, node.at, node.key_at, node.written)}
            above = Node(below, above.at, above.key_at)
            tree = Node({**tree.value, section: above}, tree.at, tree.key_at)
    return tree


def _text(node: Node, name: str, variables: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if (key := match[1]) in variables:
            return variables[key]
        written = f"${{{key}}}"
        if not variables:
            message = f"{name} has {quoted(written)}, but there is no matrix"
            raise ForgeError(message, None, node.at)
        raise ForgeError(
            f"{name} has {quoted(written)}, which the matrix lacks", choice(key, variables), node.at
        )

    return _VARIABLE.sub(replace, node.value)
