"""Checks that need the layer table, with the recipe's own lines in the message."""

from __future__ import annotations

from mlxforge.models.layers.assign import Assignment, assign
from mlxforge.models.layers.table import LayerTable
from mlxforge.plan import Plan
from mlxforge.project import Project

__all__ = ["check_layers", "layer_table"]


def layer_table(project: Project, plan: Plan) -> LayerTable:
    """The source's layer table; its inspect step must have run."""
    return LayerTable.load(project.path_of(plan.inspect) / "layers.json")


def check_layers(project: Project, plan: Plan) -> tuple[Assignment, ...]:
    """One decision per layer. Raises ForgeError at the recipe's line that cannot be followed."""
    return assign(layer_table(project, plan), plan.recipe.quantize)
