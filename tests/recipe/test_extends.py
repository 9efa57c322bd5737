"""One parent: mappings merge, lists and scalars replace, every value keeps its own position."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlxforge.errors import Position

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


BASE = """
source: {path: ../models/mine}
quantize:
  bits: 4
  overrides:
    - layers: attention
      bits: 8
evaluate:
  text: {dataset: acme/texts, split: test}
  samples: 3
"""


@pytest.fixture(autouse=True)
def base(project: Project) -> None:
    project.write("_base.yaml", BASE)


def test_mappings_merge_and_scalars_replace(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nquantize: {bits: 3}\n")
    assert recipe.quantize.bits == 3
    assert [rule.layers for rule in recipe.quantize.overrides] == ["attention"]
    assert recipe.evaluate.samples == 3


def test_lists_replace(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nquantize: {overrides: [{layers: mlp}]}\n")
    assert [rule.layers for rule in recipe.quantize.overrides] == ["mlp"]


def test_null_drops_what_was_inherited(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nevaluate:\nquantize: {bits: null, mode: mxfp8}\n")
    assert recipe.evaluate is None
    assert recipe.quantize.bits == 8


def test_positions_follow_values_to_the_file_where_they_stand(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nquantize:\n  group_size: 32\n")
    assert recipe.positions["quantize", "group_size"] == Position("recipes/mine.yaml", 3, 15)
    assert recipe.positions["quantize", "bits"] == Position("recipes/_base.yaml", 3, 9)
    assert recipe.positions["quantize", "overrides", 0, "bits"].line == 6
    assert ("quantize", "mode") not in recipe.positions


def test_a_path_is_relative_to_the_file_where_it_stands(project: Project) -> None:
    project.write("family/_base.yaml", "source: {path: ../../models/mine}")
    recipe = project.recipe("extends: family/_base.yaml")
    assert recipe.source.path == project.root / "models/mine"


def test_a_repository_replaces_a_path_as_a_whole(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nsource: {repo: acme/model}\n")
    assert recipe.source.path is None
    assert recipe.source.repo == "acme/model"


def test_a_text_file_replaces_a_data_set_as_a_whole(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nevaluate: {text: {path: t.txt}}\n")
    assert recipe.evaluate.text.path == project.root / "recipes/t.txt"
    assert recipe.document["evaluate"]["text"] == {"path": "t.txt"}


def test_a_data_set_merges_into_a_data_set(project: Project) -> None:
    recipe = project.recipe("extends: _base.yaml\nevaluate: {text: {split: train}}\n")
    assert (recipe.evaluate.text.dataset, recipe.evaluate.text.split) == ("acme/texts", "train")


def test_a_parent_may_have_a_parent_in_a_folder_below(project: Project) -> None:
    project.write("family/_near.yaml", "extends: ../_base.yaml\nquantize: {bits: 5}\n")
    recipe = project.recipe("extends: family/_near.yaml")
    assert (recipe.quantize.bits, recipe.evaluate.samples) == (5, 3)


def test_matrix_and_name_are_not_inherited(project: Project) -> None:
    project.write(
        "family.yaml", 'extends: _base.yaml\nname: "f-${mode}"\nmatrix: {mode: [affine]}\n'
    )
    assert project.recipe("extends: family.yaml").name == "mine"


def test_a_circle_is_shown(project: Project) -> None:
    project.write("a.yaml", "extends: b.yaml")
    project.write("b.yaml", "# back\nextends: a.yaml")
    errors = project.book().errors
    assert str(errors["a"]) == (
        "recipes/b.yaml:2:10: extends runs in a circle:"
        " recipes/a.yaml -> recipes/b.yaml -> recipes/a.yaml"
    )
    assert "recipes/b.yaml -> recipes/a.yaml -> recipes/b.yaml" in str(errors["b"])


def test_a_long_line_of_parents_is_only_long(project: Project) -> None:
    project.write("_0.yaml", "extends: _base.yaml")
    for number in range(1, 1500):
        project.write(f"_{number}.yaml", f"extends: _{number - 1}.yaml")
    assert project.recipe("extends: _1499.yaml").evaluate.samples == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: _bas.yaml", "cannot read recipes/_bas.yaml: No such file or directory"),
        ("extends: sub.yaml", "cannot read recipes/sub.yaml: it is not a file"),
        (
            "extends: ../other.yaml",
            "extends leaves the recipes: '../other.yaml'\n  a parent lies in recipes/ or below",
        ),
        (
            "extends: /etc/base.yaml",
            "extends leaves the recipes: '/etc/base.yaml'\n  a parent lies in recipes/ or below",
        ),
        (
            "extends: base.json",
            "extends is 'base.json', not the name of a .yaml file\n  such as extends: _base.yaml",
        ),
        (
            "extends: [_base.yaml]",
            "extends is a list, not the name of a .yaml file\n  such as extends: _base.yaml",
        ),
    ],
)
def test_a_parent_that_cannot_be_had_is_told_at_extends(
    project: Project, text: str, message: str
) -> None:
    (project.root / "recipes/sub.yaml").mkdir()
    assert project.error(text) == f"recipes/mine.yaml:1:10: {message}"


def test_broken_yaml_in_a_parent_is_told_in_the_parent(project: Project) -> None:
    project.write("_broken.yaml", "a: b: c")
    assert project.error("extends: _broken.yaml").startswith("recipes/_broken.yaml:1:5: ")


def test_another_repository_does_not_inherit_the_revision_of_the_first(project: Project) -> None:
    project.write("_hub.yaml", "source: {repo: acme/one, revision: v1}")
    other = project.recipe("extends: _hub.yaml\nsource: {repo: acme/two}")
    assert (other.source.repo, other.source.revision) == ("acme/two", "main")
    same = project.recipe("extends: _hub.yaml\nsource: {revision: v2}")
    assert (same.source.repo, same.source.revision) == ("acme/one", "v2")


def test_a_pipe_is_not_waited_for(project: Project) -> None:
    os.mkfifo(project.root / "recipes/_pipe.yaml")
    assert "it is not a file" in project.error("extends: _pipe.yaml")
