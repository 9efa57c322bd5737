"""Checks that need the layer table, with the recipe's own lines in the message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlxforge.errors import ForgeError
from mlxforge.lock import texts_by_section
from mlxforge.models.layers.assign import CHOSEN, UNCHOSEN, Assignment, assign, is_free
from mlxforge.models.layers.positions import check_length
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.layers.widths import check_target
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.steps.headers import Headers
from mlxforge.store.store import disk_error

__all__ = ["check_heads", "check_layers", "inspect_now", "layer_table"]

PIECE_BYTES = 1 << 20


def inspect_now(
    project: Project, plan: Plan, begins: Callable[[Node], None] = lambda node: None
) -> None:
    """Make sure that the source's layers are known, and its pairs where they are wanted. Of a
    repository headers alone are fetched for that; ``begins`` is told of each step that has to run.

    Raises ForgeError where they cannot be fetched, or do not make a model.
    """
    known = [node for node in plan.nodes() if node.kind in ("inspect", "pairs")]
    if all(map(project.done, known)):
        return
    from mlxforge.execute import execute

    project.store.prepare()
    for node in {below.key: below for one in known for below in one.below()}.values():
        if project.done(node):
            continue
        begins(node)
        try:
            execute(project, node, lambda done, total, unit: None)
        except ForgeError as error:
            raise ForgeError(
                _with_names(project, node, error.message), error.hint, error.at
            ) from error


def layer_table(project: Project, plan: Plan) -> LayerTable:
    """The source's layer table; its inspect step must have run."""
    return LayerTable.load(project.path_of(plan.inspect) / "layers.json")


def check_layers(project: Project, plan: Plan) -> tuple[Assignment, ...]:
    """One decision per layer. Raises ForgeError at the recipe's line that cannot be followed."""
    table = layer_table(project, plan)
    _check_lengths(plan.recipe, table.positions)
    assignments = assign(table, plan.wanted)
    if plan.sensitivity is not None:
        check_target(table, assignments, plan.recipe)
        return tuple(
            replace(entry, reason=UNCHOSEN, at=None) if is_free(entry) else entry
            for entry in assignments
        )
    lock = f"{CHOSEN} ({plan.recipe.name}.lock)"
    return tuple(
        replace(entry, reason=lock, at=None) if entry.reason == CHOSEN else entry
        for entry in assignments
    )


def _check_lengths(recipe: Recipe, limit: int | None) -> None:
    """Raises ForgeError where a section wants longer windows than the model has positions."""
    for section, text in texts_by_section(recipe).items():
        wanted = getattr(recipe, section).sequence_length
        at = recipe.positions.get((section, "sequence_length")) or text.at
        check_length(limit, wanted, section, at)


def check_heads(project: Project, plan: Plan) -> None:
    """Raises ForgeError where a downloaded file does not begin with the header that was told
    before, and takes away what was made of that: no digest stands for a part of a file, so that
    only now can it be known."""
    heads = dict(plan.inspect.inputs)["source"]
    if not isinstance(heads, Node) or not project.done(heads):
        return
    folder, files = project.path_of(heads), project.path_of(plan.source)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            if _begins_with(files / path.name, path):
                continue
        except OSError as error:
            raise disk_error(error) from error
        project.discard(plan.inspect)
        project.discard(heads)
        raise ForgeError(
            f"{path.name} has another header than was read before it was downloaded",
            "what was made of that is removed: build again",
        )


def _begins_with(path: Path, head: Path) -> bool:
    with path.open("rb") as file, head.open("rb") as expected:
        while piece := expected.read(PIECE_BYTES):
            if file.read(len(piece)) != piece:
                return False
    return True


def _with_names(project: Project, node: Node, message: str) -> str:
    """``message`` with a repository's name in the place of the folder that its heads are in."""
    for _, value in node.inputs:
        if isinstance(value, Node) and isinstance(value.step, Headers):
            message = message.replace(str(project.path_of(value)), value.step.repo)
    return message
