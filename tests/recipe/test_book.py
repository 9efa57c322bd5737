"""The recipes of a folder: each by its name, and a broken one hurts no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlxforge.errors import ForgeError
from mlxforge.recipe.load import Book, load_book, load_named
from mlxforge.recipe.names import RESERVED_NAMES

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


SOURCE = "source: {path: m}\n"


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(ForgeError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def book(project: Project) -> Book:
    for name in ("a-1", "a-2", "b-1"):
        project.write(f"{name}.yaml", SOURCE)
    project.write("c-broken.yaml", "source: {path: m}\nbits: 4\n")
    project.write("_fragment.yaml", "this: is not looked at\n")
    project.write("family.yaml", SOURCE + 'name: "f-${bits}"\nmatrix: {bits: [3, 8]}\n')
    project.write("below/deep.yaml", SOURCE)
    project.write(".hidden.yaml", "[")
    return project.book()


def test_recipes_are_the_yaml_files_of_the_folder_in_order(book: Book) -> None:
    assert list(book.recipes) == ["a-1", "a-2", "b-1", "f-3", "f-8"]


def test_a_broken_file_hurts_no_other(book: Book) -> None:
    assert list(book.errors) == ["c-broken"]


def test_a_recipe_is_had_by_its_name(book: Book) -> None:
    assert book.get("a-1").name == "a-1"


def test_a_broken_recipe_raises_its_own_error(book: Book) -> None:
    assert refusal(book.get, "c-broken").startswith(
        "recipes/c-broken.yaml:2:1: unknown key 'bits'\n"
    )


def test_an_unknown_name_is_told_with_the_closest(book: Book) -> None:
    assert refusal(book.get, "a-11") == "no recipe 'a-11'\n  did you mean 'a-1'?"
    assert refusal(book.get, "zzzzz") == "no recipe 'zzzzz'"


def test_a_matrix_is_told_with_what_it_makes(book: Book) -> None:
    assert refusal(book.get, "family") == (
        "'family' is a matrix, not a recipe\n  it makes f-3, f-8"
    )


def test_names_and_globs_select_in_the_order_asked_for_and_once(book: Book) -> None:
    names = [recipe.name for recipe in book.select(["f-*", "a-2", "a-*", "f-[38]"])]
    assert names == ["f-3", "f-8", "a-2", "a-1"]


def test_a_glob_that_covers_nothing_is_an_error(book: Book) -> None:
    assert refusal(book.select, ["x*"]) == "no recipe matches 'x*'"


def test_a_glob_that_covers_a_broken_recipe_raises_its_error(book: Book) -> None:
    assert "unknown key 'bits'" in refusal(book.select, ["c*"])


@pytest.mark.parametrize("stem", ["Upper", "with space", "-dash", "ü", "a\nb"])
def test_a_stem_that_is_no_name_is_an_error(project: Project, stem: str) -> None:
    assert project.error(SOURCE, stem).endswith(
        f"{stem!r} is not a recipe's name\n"
        "  a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"
    )


@pytest.mark.parametrize("stem", sorted(RESERVED_NAMES))
def test_a_command_is_no_name(project: Project, stem: str) -> None:
    assert project.error(SOURCE, stem) == (
        f"recipes/{stem}.yaml:1:1: a recipe cannot be called {stem!r}: that is a command\n"
        f"  such as {stem}-1"
    )


def test_a_yml_file_is_to_be_renamed(project: Project) -> None:
    project.write("mine.yml", SOURCE)
    assert str(project.book().errors["mine"]) == (
        "recipes/mine.yml:1:1: recipes end in .yaml\n  rename it to mine.yaml"
    )


def test_a_yml_file_beside_a_yaml_file_hides_neither(project: Project) -> None:
    project.write("mine.yml", SOURCE)
    assert project.recipe(SOURCE).name == "mine"
    assert list(project.book().errors) == ["mine.yml"]


def test_a_folder_called_like_a_recipe_is_an_error(project: Project) -> None:
    (project.root / "recipes/mine.yaml").mkdir(parents=True)
    assert str(project.book().errors["mine"]) == (
        "recipes/mine.yaml:1:1: cannot read recipes/mine.yaml: it is not a file"
    )


def test_no_folder_holds_no_recipes(tmp_path: Path) -> None:
    book = load_book(tmp_path / "recipes", tmp_path)
    assert (book.recipes, book.errors) == ({}, {})


def test_recipes_are_equal_where_their_values_are(project: Project) -> None:
    first = project.recipe("source: {path: m}\nquantize: {bits: 4}\n")
    second = project.recipe("# moved\nquantize:\n  bits: 4\nsource:\n  path: m\n")
    assert first == second


def test_jsonschema_is_imported_only_for_a_broken_recipe(project: Project) -> None:
    project.write("mine.yaml", SOURCE)
    code = (
        "import sys; from pathlib import Path; from mlxforge.recipe.load import load_book\n"
        "assert 'yaml' not in sys.modules\n"
        f"root = Path({str(project.root)!r}); load_book(root / 'recipes', root).get('mine')\n"
        "assert 'jsonschema' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_with_a_file_of_its_own_is_read_without_the_others(project: Project) -> None:
    project.write("a-1.yaml", SOURCE)
    project.write("a-2.yaml", SOURCE)
    project.write("broken.yaml", "[")
    project.write("family.yaml", SOURCE + 'name: "f-${bits}"\nmatrix: {bits: [3, 8]}\n')
    recipes = project.root / "recipes"
    book = project.book()
    for names in (["a-1"], ["a-2", "a-1", "a-2"]):
        assert load_named(recipes, project.root, names) == book.select(names)
    for names in (["f-3"], ["a-*"], ["family"], ["broken"], ["a-1", "nowhere"], ["a-1", "f-8"]):
        assert load_named(recipes, project.root, names) is None
