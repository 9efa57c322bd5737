"""Our recipes, each as it stands in the folder, on a small model with its release's configuration.

Only where a model comes from is another, and how much of a text is scored.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model
from mlx_vlm.utils import load_model as vision_model

from mlxforge.models.source.loader import loader_of
from tests.conftest import DEMO, ROOT, Workspace
from tests.recipes.families import FAMILIES, bits_of
from tests.recipes.releases import RELEASES
from tests.recipes.small import released

TEXT = f"text: {{path: {DEMO}/heldout.txt}}, samples: 1, sequence_length: 32"
EVALUATE = {
    "phi35-mini": f"{{{TEXT}}}",
    "phi35-moe": f"{{{TEXT}}}",
    "gpt-oss-20b": f"{{{TEXT}}}",
    "gemma-3-4b": f"{{{TEXT}, images: [shapes]}}",
    "phi35-vision": f"{{{TEXT}, images: []}}",
}
"""What is scored: one of each kind, as tests/models scores every architecture. The others answer a
prompt. Phi's tower has a fixed size, and would look at an image for minutes."""

BUILT = {
    recipe: wanted
    for name, family in FAMILIES.items()
    for recipe, wanted in list(family.recipes(name).items())[-1:]
}
"""The mixed recipe of each family, or its widest; the other widths differ in one number."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with our recipes, and the small models."""
    root = tmp_path_factory.mktemp("recipes")
    workspace = Workspace(root / "project")
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        shutil.copy(recipe, workspace.root / "recipes")
    hub = workspace.root / "recipes" / "_hub.yaml"
    hub.write_text(hub.read_text().rstrip() + "\n  max_tokens: 2\n")
    mx.random.seed(11)
    for name, family in FAMILIES.items():
        small = released(family.small(root / name), RELEASES[name])
        recipe = workspace.root / "recipes" / f"{name}.yaml"
        local, changes = re.subn(
            r"^  repo: .*$", f"  path: {small}", recipe.read_text(), flags=re.M
        )
        assert changes == 1
        scored = f"evaluate: {EVALUATE[name]}\n" if name in EVALUATE else ""
        recipe.write_text(local + scored)
    return workspace


@pytest.mark.parametrize("recipe", BUILT)
def test_the_recipe_builds_a_model_that_loads_with_its_widths(
    project: Workspace, recipe: str
) -> None:
    project.build(recipe)
    folder = project.cache / "models" / recipe
    model = loaded(folder)
    leaves = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    found = {path: leaf.bits for path, leaf in leaves if hasattr(leaf, "bits")}
    assert found == {path: bits_of(path, BUILT[recipe]) for path in found}
    assert {bits for bits in BUILT[recipe].values() if bits} <= {*found.values()}


def loaded(folder: Path) -> nn.Module:
    """The model as its own library loads it, strictly."""
    config = json.loads((folder / "config.json").read_text())
    if loader_of(config) == "mlx_vlm":
        return vision_model(folder, lazy=True)
    model, _ = load_model(folder, lazy=True)
    return model
