"""The schema itself, which editors read too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from mlxforge.recipe.load import load_book
from mlxforge.recipe.modes import ROLES
from mlxforge.recipe.schema import fits, load_schema

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def every_schema(schema: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, schema
    for key, below in schema.get("properties", {}).items():
        yield from every_schema(below, f"{name}.{key}")
    if "items" in schema:
        yield from every_schema(schema["items"], f"{name}[]")


SCHEMAS = dict(every_schema(load_schema()))


def test_it_is_a_draft_7_schema() -> None:
    Draft7Validator.check_schema(load_schema())


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_a_title_a_description_and_a_default(name: str) -> None:
    assert SCHEMAS[name].keys() >= {"type", "title", "description", "default"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_default_is_valid_unless_the_key_is_required(name: str) -> None:
    schema = SCHEMAS[name]
    valid = fits(schema["default"], schema)
    assert valid or schema["description"].startswith(("Required", "One", "What one role"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_mapping_is_closed_and_no_keyword_is_unknown_to_fits(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema.get("additionalProperties", False) is False
    assert ("additionalProperties" in schema) == ("object" in schema["type"])
    assert schema.keys() <= {
        *("$schema", "type", "title", "description", "default", "patternErrorMessage"),
        *("properties", "additionalProperties", "required", "minProperties"),
        *("items", "minItems", "uniqueItems", "enum", "pattern", "minLength"),
        *("minimum", "maximum", "exclusiveMinimum"),
    }


def test_the_roles_are_named() -> None:
    layers = SCHEMAS[".quantize.overrides[].layers"]["description"]
    assert f"({', '.join(ROLES)})" in layers


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_a_recipe_of_ours_tells_editors_where_the_schema_is(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/recipe.schema.json"


def test_our_recipes_are_sound() -> None:
    book = load_book(ROOT / "recipes", ROOT)
    assert book.errors == {}
    assert {"demo-4bit", "demo-2bit", "demo-mxfp8", "phi35-mini-mixed"} <= book.recipes.keys()
