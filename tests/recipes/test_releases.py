"""Our recipes on the models that they are for, in their true sizes: planned, nothing built."""

from __future__ import annotations

import pytest

from mlxforge.models.layers.table import LayerTable
from mlxforge.recipe.load import Book, load_book
from tests.conftest import ROOT
from tests.recipes.families import FAMILIES, bits_of
from tests.recipes.releases import RELEASES
from tests.recipes.sizes import size_of, table_of
from tests.recipes.table import markdown

PARAMETERS = {
    "phi35-mini": 3_821_079_552, "phi35-moe": 41_873_153_344, "phi4": 14_659_507_200,
    "phi4-mini": 3_836_021_760, "deepseek-r1-redistill-qwen-1.5b": 1_777_088_000,
    "qwen2.5-7b": 7_615_616_512, "qwen3-8b": 8_190_735_360, "qwen3-30b-a3b": 30_532_122_624,
    "llama-3.2-3b": 3_212_749_824, "mistral-7b": 7_248_023_552, "gpt-oss-20b": 20_914_757_184,
    "smollm3-3b": 3_075_098_624, "phi35-vision": 4_146_621_440,
    # mlx_vlm gives Gemma a head of its own, a copy of the embeddings
    "gemma-3-4b": 4_300_079_472 + 262_208 * 2_560,
}  # fmt: skip
"""As the model cards count them."""


@pytest.fixture(scope="module")
def book() -> Book:
    return load_book(ROOT / "recipes", ROOT)


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def table(name: str) -> LayerTable:
    return table_of(RELEASES[name])


def test_the_configuration_is_that_of_the_release(name: str, table: LayerTable) -> None:
    assert sum(layer.parameters for layer in table.layers) == PARAMETERS[name]


def test_every_layer_gets_what_the_recipe_says(name: str, table: LayerTable, book: Book) -> None:
    for recipe, wanted in FAMILIES[name].recipes(name).items():
        _, decided = size_of(table, book.get(recipe))
        packed = {entry.layer.path: entry.scheme for entry in decided if entry.layer.quantizable}
        found = {path: scheme and scheme.bits for path, scheme in packed.items()}
        assert found == {path: bits_of(path, wanted) for path in found}


def test_a_mixed_recipe_lies_between_the_widths_that_it_mixes(
    name: str, table: LayerTable, book: Book
) -> None:
    recipes = FAMILIES[name].recipes(name)
    sizes = {recipe: size_of(table, book.get(recipe))[0].bytes for recipe in recipes}
    widths = [size for recipe, size in sizes.items() if recipe.endswith("bit")]
    assert widths == sorted(widths)
    mixed = [size for recipe, size in sizes.items() if recipe.endswith("-mixed")]
    assert all(widths[0] < size < widths[-1] for size in mixed)


def test_no_recipe_is_left_out(book: Book) -> None:
    ours = {recipe for name, family in FAMILIES.items() for recipe in family.recipes(name)}
    assert ours == {recipe for recipe in book.recipes if not recipe.startswith("demo-")}


def test_readme_shows_them_all_with_their_sizes(book: Book) -> None:
    assert markdown(book) in (ROOT / "README.md").read_text()
