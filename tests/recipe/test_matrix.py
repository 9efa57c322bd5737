"""A matrix makes one recipe of each combination, and every one has a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlxforge.errors import Position

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


SOURCE = "source: {path: m}\n"


def test_each_combination_is_a_recipe(project: Project) -> None:
    project.write(
        "family.yaml",
        SOURCE + 'name: "f-${bits}-${group_size}"\nmatrix: {bits: [3, 8], group_size: [32, 64]}\n',
    )
    book = project.book()
    assert list(book.recipes) == ["f-3-32", "f-3-64", "f-8-32", "f-8-64"]
    quantize = book.get("f-8-32").quantize
    assert (quantize.bits, quantize.group_size) == (8, 32)


def test_a_value_has_its_position_in_the_matrix(project: Project) -> None:
    project.write("family.yaml", SOURCE + 'name: "f-${bits}"\nmatrix:\n  bits: [3, 8]\n')
    recipe = project.book().get("f-8")
    assert recipe.positions["quantize", "bits"] == Position("recipes/family.yaml", 4, 13)
    assert recipe.file == project.root / "recipes/family.yaml"
    assert "matrix" not in recipe.document


def test_variables_are_replaced_in_the_upload_and_nowhere_else(project: Project) -> None:
    project.write(
        "family.yaml",
        """
        source: {path: m}
        name: "f-${bits}"
        matrix: {bits: [3]}
        evaluate: {prompts: ["What is ${bits}?"]}
        upload: {repo: "acme/f-${bits}bit", branch: "b${bits}"}
        """,
    )
    recipe = project.book().get("f-3")
    assert (recipe.upload.repo, recipe.upload.branch) == ("acme/f-3bit", "b3")
    assert recipe.evaluate.prompts == ("What is ${bits}?",)


def test_a_matrix_replaces_what_the_parent_sets(project: Project) -> None:
    project.write("_base.yaml", SOURCE + "quantize: {bits: 4, dtype: float16}\n")
    project.write("family.yaml", 'extends: _base.yaml\nname: "f-${bits}"\nmatrix: {bits: [3]}\n')
    quantize = project.book().get("f-3").quantize
    assert (quantize.bits, quantize.dtype) == (3, "float16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "matrix: {bits: [3]}",
            '2:1: the matrix has no name\n  such as name: "mine-${bits}"',
        ),
        (
            "matrix: {bits: [3], mode: [affine]}\nname: f-${bits}",
            "3:7: name lacks ${mode}\n"
            '  every key of the matrix tells the recipes apart: "mine-${bits}-${mode}"',
        ),
        (
            "matrix: {bits: [3]}\nname: f-${bits}-${bit}",
            "3:7: name has '${bit}', which the matrix lacks\n  did you mean 'bits'?",
        ),
        (
            "matrix: {bits: [3]}\nname: f-${bits}\nupload: {repo: 'a/${mode}'}",
            "4:16: upload.repo has '${mode}', which the matrix lacks\n  one of bits",
        ),
        ("upload: {repo: 'a/${bits}'}", "2:16: upload.repo has '${bits}', but there is no matrix"),
        (
            "name: other",
            "2:1: name without a matrix\n"
            "  a recipe is called what its file is called; name belongs to a matrix",
        ),
        (
            "matrix: {bits: [3]}\nname: f-${bits}\nquantize: {bits: 4}",
            "4:12: quantize.bits is set by the matrix too\n  leave it out here, or in the matrix",
        ),
        (
            "matrix: {bits: [3]}\nname: F-${bits}",
            "3:7: 'F-3' is not a recipe's name\n"
            "  a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit",
        ),
        (
            "matrix: {mode: [affine, mxfp4]}\nname: f-${mode}\nquantize: {bits: 8}",
            "4:18: quantize.bits is 8, which the mode mxfp4 does not have\n"
            "  it has 4; 8: affine, mxfp8",
        ),
        (
            "matrix: {bits: [4, 8]}\nname: f-${bits}\nquantize: {mode: mxfp4}",
            "2:20: quantize.bits is 8, which the mode mxfp4 does not have\n"
            "  it has 4; 8: affine, mxfp8",
        ),
    ],
)
def test_what_a_matrix_cannot_do_is_told(project: Project, text: str, message: str) -> None:
    assert project.error(SOURCE + text) == f"recipes/mine.yaml:{message}"


def test_a_name_that_is_a_file_is_told_with_both_places(project: Project) -> None:
    project.write("f-3.yaml", SOURCE)
    text = SOURCE + 'name: "f-${bits}"\nmatrix: {bits: [3, 8]}\n'
    assert project.error(text) == (
        "recipes/mine.yaml:2:7: name makes 'f-3', which recipes/f-3.yaml:1:1 has taken\n"
        "  change one of the two"
    )
    assert list(project.book().recipes) == ["f-3"]


def test_a_name_that_another_matrix_makes_is_told_with_both_places(project: Project) -> None:
    text = SOURCE + 'name: "f-${bits}"\nmatrix: {bits: [3, 8]}\n'
    project.write("first.yaml", text)
    assert project.error(text, "second") == (
        "recipes/second.yaml:2:7: name makes 'f-3', which recipes/first.yaml:2:7 has taken\n"
        "  change one of the two"
    )


def test_one_broken_combination_breaks_the_file_and_nothing_else(project: Project) -> None:
    project.write("good.yaml", SOURCE)
    project.write(
        "family.yaml", SOURCE + 'name: "f-${bits}"\nmatrix: {bits: [4, 3]}\nquantize: {mode: nvfp4}'
    )
    book = project.book()
    assert (list(book.recipes), list(book.errors)) == (["good"], ["family"])
