"""Whatever a file holds, the outcome is a recipe or a ForgeError, and the same one again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.recipe.load import Book, load_book
from mlxforge.recipe.problems import _validator
from mlxforge.recipe.schema import fits, load_schema

PLAIN = ["5%", "none", "mlp", "m/n", "main", "_base.yaml", "mine.yaml", "../x.yaml"]
NAMES = ["f-${bits}", "f-${mode}", "f-${bits}${mode}", "${x}", "${"]
OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.integers(0, 600),
    "number": st.floats(0, 2),
    "string": st.sampled_from(PLAIN) | st.sampled_from(NAMES),
}
SCALARS = st.one_of(*OF_KIND.values(), st.integers(), st.floats(), st.text(max_size=8))
ANYTHING = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below),
    max_leaves=6,
)


def valid_for(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema allows, or nearly: keys come and go, and odd values slip in."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "object" in kinds:
        keys = {key: valid_for(below) for key, below in schema["properties"].items()}
        right: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=keys)
    elif "array" in kinds:
        right = st.lists(valid_for(schema["items"]), max_size=3)
    elif "enum" in schema:
        right = st.sampled_from(schema["enum"])
    else:
        right = st.one_of(st.just(schema["default"]), *(OF_KIND[kind] for kind in kinds))
    return st.integers(0, 40).flatmap(lambda n: ANYTHING if n == 40 else right)


def with_source(document: Any) -> Any:
    return {"source": {"path": "m"}} | document if isinstance(document, dict) else document


DOCUMENTS = valid_for(load_schema()) | valid_for(load_schema()).map(with_source)
SOUND = json.dumps(
    {
        "extends": "_base.yaml",
        "source": {"repo": "a/b", "revision": "v1"},
        "quantize": {"bits": 4, "overrides": [{"layers": "mlp", "quantize": False}]},
        "evaluate": {"text": {"path": "t"}, "require": {"perplexity_increase": "5%"}},
    },
    indent=1,
)


def load(data: bytes) -> Book:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "recipes")
        folder.mkdir()
        (folder / "_base.yaml").write_text("source: {path: m}\nquantize: {bits: 3}\n")
        (folder / "good.yaml").write_text("source: {path: m}\n")
        (folder / "mine.yaml").write_bytes(data)
        first, second = load_book(folder, Path(root)), load_book(folder, Path(root))
    assert first.recipes == second.recipes
    assert {k: str(v) for k, v in first.errors.items()} == {
        k: str(v) for k, v in second.errors.items()
    }
    assert "good" in first.recipes
    assert first.recipes.keys() > {"good"} or first.errors.keys() == {"mine"}
    for error in first.errors.values():
        assert isinstance(error, ForgeError)
        assert error.at is not None
        assert error.at.file.startswith("recipes/")
        assert len(str(error).splitlines()) <= 2
        assert str(error).replace("\n", "").isprintable()
    return first


@settings(max_examples=500, deadline=None)
@given(DOCUMENTS)
def test_documents_like_recipes(document: Any) -> None:
    load(json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_recipes_with_a_piece_replaced(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SOUND)))
    end = data.draw(st.integers(start, min(start + 12, len(SOUND))))
    piece = data.draw(st.text("\n \t:-[]{}&*!|>'\"%#?,~<0e.xé\0", max_size=6) | st.text(max_size=3))
    load((SOUND[:start] + piece + SOUND[end:]).encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text("\n a:-[]{}&*!|>'\"%#?,~<", max_size=60).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    load(data)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
def test_the_quick_check_agrees_with_jsonschema(document: Any) -> None:
    assert fits(document, load_schema()) == _validator().is_valid(document)
