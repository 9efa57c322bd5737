"""The JSON Schema that editors use, put to the same use here: for checking, and for defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "NOT_IN_DOCUMENT",
    "fits",
    "load_schema",
    "schema_file",
    "section_with_defaults",
    "with_defaults",
]

NOT_IN_DOCUMENT = ("extends", "matrix", "name")
"""Keys that say how documents are made; a finished document lacks them."""

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_file() -> Path:
    """Beside this module in a wheel, under ``schemas/`` in a checkout."""
    here = Path(__file__).parent
    packaged = here / "recipe.schema.json"
    return packaged if packaged.exists() else here.parents[1] / "schemas" / packaged.name


@cache
def load_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schema_file().read_text(encoding="utf-8"))
    return schema


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether ``value`` is valid, for the keywords that our schema has.

    Says only yes or no: what is wrong, ``problems`` asks jsonschema. Nearly every recipe is valid,
    and for those jsonschema took longer than all the rest, its import longer than ``doit list``.
    """
    if isinstance(value, dict):
        below = schema.get("properties", {})
        return (
            "object" in schema["type"]
            and len(value) >= schema.get("minProperties", 0)
            and all(key in value for key in schema.get("required", ()))
            and all(key in below and fits(item, below[key]) for key, item in value.items())
        )
    if isinstance(value, list):
        return (
            "array" in schema["type"]
            and len(value) >= schema.get("minItems", 0)
            and all(fits(item, schema["items"]) for item in value)
            and not ("uniqueItems" in schema and len(set(value)) < len(value))
        )
    return _scalar_fits(value, schema)


def _scalar_fits(value: Any, schema: Mapping[str, Any]) -> bool:
    kind = _TYPES[type(value)]
    if kind not in schema["type"] and not (kind == "integer" and "number" in schema["type"]):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    if kind == "string":
        return len(value) >= schema.get("minLength", 0) and (
            "pattern" not in schema or bool(re.search(schema["pattern"], value))
        )
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        above = schema.get("exclusiveMinimum", float("-inf"))
        return bool(low <= value <= high and value > above)
    return True


def with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """A checked document with every default filled in, keys in the schema's order."""
    return {
        key: _filled(document.get(key), schema)
        for key, schema in load_schema()["properties"].items()
        if key not in NOT_IN_DOCUMENT
    }


def section_with_defaults(value: Mapping[str, Any] | None, *path: str) -> dict[str, Any]:
    """The same for the section at ``path``, which is null unless it is written."""
    schema = load_schema()
    for key in path:
        schema = schema["properties"][key]
    found: dict[str, Any] = _filled(dict(value or {}), schema)
    return found


def _filled(value: Any, schema: Mapping[str, Any]) -> Any:
    if value is None:
        value = schema["default"]
    if isinstance(value, dict):
        return {key: _filled(value.get(key), below) for key, below in schema["properties"].items()}
    if isinstance(value, list):
        return [_filled(item, schema["items"]) for item in value]
    if schema["type"] == "number" and value is not None:
        return float(value)  # 1 and 1.0 are one number
    return value
