"""What the schema finds wrong, told with the place and with what would work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.schema import NOT_IN_DOCUMENT, fits, load_schema
from mlxforge.recipe.tree import Node, find, plain
from mlxforge.recipe.words import choice, dotted, one_of, quoted, shown

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = ["check"]

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def check(tree: Node) -> None:
    """ForgeError for the first problem that the schema finds in a merged document.

    First is what stands first in the text; of two problems of one value, the wrong type.
    """
    document = plain(tree)
    if fits(document, load_schema()):
        return
    found: list[tuple[Position, bool, ForgeError]] = []
    for error in _validator().iter_errors(document):
        at, message, hint = _explain(error, tree)
        found.append((at, error.validator != "type", ForgeError(message, hint, at)))
    raise min(found, key=lambda problem: problem[:2])[2]


@cache
def _validator() -> Any:
    from jsonschema import Draft7Validator
    from jsonschema.validators import extend

    # To JSON Schema 4.0 is an integer. Here it is not: what reads bits expects an int.
    integers = Draft7Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = extend(Draft7Validator, type_checker=integers)  # type: ignore[no-untyped-call]
    return strict(load_schema())


def _explain(error: ValidationError, tree: Node) -> tuple[Position, str, str | None]:
    path = tuple(error.absolute_path)
    node, _ = find(tree, path)
    name = dotted(path)
    rules: Any = error.schema
    limit: Any = error.validator_value
    hint: str | None
    match error.validator:
        case "additionalProperties":
            return _unknown_key(rules, node, name)
        case "uniqueItems":
            return _written_twice(node, name)
        case "required":
            lacking = next(key for key in limit if key not in node.value)
            return node.at, f"{name} has no {lacking}", f"write {lacking}: …"
        case "type":
            wanted = " or ".join(_KINDS[kind] for kind in _types(rules))
            message = f"{name} is {shown(node.value, node.written)}, not {wanted}"
            return node.at, message, _how_to_write(rules, node)
        case "pattern":
            return node.at, f"{name} {rules['patternErrorMessage']}, not {shown(node.value)}", None
        case "enum":
            hint = choice(node.value, (value for value in limit if value is not None))
        case "minimum":
            hint = f"at least {limit}"
        case "maximum":
            hint = f"at most {limit}"
        case "exclusiveMinimum":
            hint = f"more than {limit}"
        case _:  # minLength, minItems, minProperties
            hint = "write a value, or leave the key out"
    return node.at, f"{name} cannot be {shown(node.value, node.written)}", hint


def _unknown_key(rules: Any, node: Node, name: str) -> tuple[Position, str, str]:
    known = list(rules["properties"])
    unknown = [key for key in node.value if key not in known]
    first = min(unknown, key=lambda key: node.value[key].key_at)
    where = f" in {name}" if name else ""
    homes = [".".join(path) for path in _sections_with(first, load_schema()) if path]
    hint = f"it is a key of {' and of '.join(homes)}" if homes else choice(first, known)
    return node.value[first].key_at, f"unknown key {quoted(first)}{where}", hint


def _sections_with(
    key: str, schema: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Paths of the sections that have ``key``."""
    below = schema.get("properties", {})
    if key in below:
        yield path
    for name, section in below.items():
        if name not in NOT_IN_DOCUMENT:
            yield from _sections_with(key, section, (*path, name))


def _written_twice(node: Node, name: str) -> tuple[Position, str, str]:
    seen: list[Any] = []
    for item in node.value:
        if plain(item) in seen:
            break
        seen.append(plain(item))
    return item.at, f"{name} has {shown(item.value, item.written)} twice", "leave one out"


def _types(rules: Any) -> list[str]:
    types = [rules["type"]] if isinstance(rules["type"], str) else rules["type"]
    return [kind for kind in types if kind != "null"]


def _how_to_write(rules: Any, node: Node) -> str | None:
    types = _types(rules)
    if "enum" in rules:
        return one_of(value for value in rules["enum"] if value is not None)
    if "object" in types:
        return f"its keys are {', '.join(rules['properties'])}"
    if node.value is None or isinstance(node.value, (dict, list)):
        return None
    if types == ["array"]:
        return f"a list is written [{node.written}]" if len(node.written) < 20 else None
    if types == ["string"]:
        return f"in quotes it is text: {quoted(node.written)}"
    if types == ["integer"]:
        return f"such as {rules['default']}"
    return None
