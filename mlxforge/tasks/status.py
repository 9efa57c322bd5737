"""What there is of a recipe: built, stale or missing."""

from __future__ import annotations

from mlxforge.errors import ForgeError
from mlxforge.plan import NotLocked
from mlxforge.project import Built, Project
from mlxforge.recipe.model import Recipe
from mlxforge.report.gates import check_gates
from mlxforge.report.overlap import check_overlap

__all__ = ["status_of"]


def status_of(project: Project, recipe: Recipe) -> tuple[str, Built | None]:
    """The state in a word, and the record of the last finished build where there is one.

    Reads no file that was not hashed before: what was never hashed was never built. Raises
    ForgeError where the recipe cannot be planned.
    """
    built = project.built(recipe.name)
    try:
        plan = project.plan_unread(recipe)
    except NotLocked:
        return "not locked", None
    if built is None:
        return "missing", None
    if plan is None:
        return "stale", built
    if built.keys != {name: key for key, name in plan.names.items()}:
        return "stale", built
    if not all(project.done(node) for node in plan.ends):
        return "missing", None
    try:
        check_gates(recipe, built.figures, project.model_link(recipe.name))
        check_overlap(recipe, built.figures)
    except ForgeError:
        return "gate missed", built
    return "built", built
