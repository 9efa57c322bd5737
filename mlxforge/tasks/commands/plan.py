"""`doit plan NAME`: what a build would do and why, what it would cost, and what would come out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlxforge.checks import check_layers, inspect_now, layer_table
from mlxforge.errors import ForgeError
from mlxforge.hub.cache import offline
from mlxforge.lock import texts_by_section
from mlxforge.models.layers.pairs import Pairs
from mlxforge.models.layers.size import ModelSize, assignment_bytes, model_size
from mlxforge.models.layers.usable import usable
from mlxforge.plan import NotLocked, Plan
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.report.changes import changes
from mlxforge.report.forecast import forecast_lines
from mlxforge.report.guards import guard_lines
from mlxforge.report.layers import layer_rows
from mlxforge.report.machine import fit_rows
from mlxforge.report.pairs import pairs_lines
from mlxforge.report.table import print_table
from mlxforge.stages import maker_kinds, searches
from mlxforge.tasks.commands.base import ForgeCommand
from mlxforge.tasks.order import needed as needed_steps
from mlxforge.units import readable_bytes

__all__ = ["PlanRecipes"]

opt_layers = {
    "name": "layers",
    "short": "l",
    "long": "layers",
    "type": bool,
    "default": False,
    "help": "every layer on a line of its own, not one line per pattern",
}


class PlanRecipes(ForgeCommand):
    name = "plan"
    doc_purpose = "say what a build would run and why, and how large the result will be"
    doc_usage = "TASK... | GLOB"
    cmd_options = (opt_layers,)

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        for number, recipe in enumerate(self.selected(project, names)):
            if number:
                print()
            print(recipe.name)
            self._print(project, recipe, params["layers"])
        return 0

    def _print(self, project: Project, recipe: Recipe, every: bool) -> None:
        try:
            plan = project.plan(recipe)
        except NotLocked as error:
            print(f"  would run {', '.join(_unlocked_steps(recipe))}\n  {error}")
            return
        trouble = self._inspect(project, plan)
        print_table(("  step", "key", "", "why"), list(_step_rows(project, plan)))
        if plan.sensitivity is not None:
            print(f"  then, with widths that are not chosen yet: {', '.join(_later_steps(recipe))}")
        if trouble is None:
            self._print_layers(project, plan, every)
        elif offline():
            print("\n  layers and sizes can be told once the source's headers can be read")
        else:
            raise trouble

    def _inspect(self, project: Project, plan: Plan) -> ForgeError | None:
        """What the source's layers are; of a repository headers alone are fetched for that."""
        try:
            inspect_now(project, plan)
        except ForgeError as error:
            return error
        return None

    def _print_layers(self, project: Project, plan: Plan, every: bool) -> None:
        assignments = check_layers(project, plan)
        table = layer_table(project, plan)
        cast = table.cast(plan.recipe.quantize.dtype)
        size, most = model_size(assignments, cast), ""
        if plan.sensitivity is not None and (wanted := plan.wanted.dynamic) is not None:
            whole, most = size.parameters, "at most "
            size = ModelSize(int(wanted.target_bits_per_weight * whole / 8), whole)
        print()
        heads = ("  layer", "role", "n", "shape", "bits", "group", "mode", "bytes", "decided by")
        print_table(heads, layer_rows(assignments, cast, every), right=(2, 4, 5, 7))
        if lines := guard_lines(assignments):
            print("\n  guards: " + "\n          ".join(lines))
        if plan.wanted.moves_scales:
            for node in plan.nodes():
                if node.kind == "pairs":
                    pairs = usable(Pairs.load(project.path_of(node) / "pairs.json"), assignments)
                    print("\n  " + "\n  ".join(pairs_lines(pairs)))
        kept = sum(assignment_bytes(entry, cast) for entry in assignments if not entry.scheme)
        print(
            f"\n  result: {most}{size.bytes:,} bytes of weights ({readable_bytes(size.bytes)}), "
            f"{size.bits_per_weight:.3f} bits per weight, {size.parameters:,} parameters, "
            f"{readable_bytes(kept)} of it not quantized"
        )
        needed = {node.key for node in needed_steps(project, plan)}
        for label, line in forecast_lines(project, plan, needed, table, size):
            print(f"  {label}: {line}")
        print()
        rows = list(fit_rows(size.bytes, table.cache_bytes(cast), table.positions))
        print_table(("  machine", "for a model", "longest context"), rows, right=(1,))


def _unlocked_steps(recipe: Recipe) -> Iterator[str]:
    """The kinds of steps that a build would run, as far as the recipe alone tells."""
    texts = texts_by_section(recipe)
    from_hub = any(text.dataset for text in texts.values())
    if recipe.source.repo:
        yield "headers"
    yield "inspect"
    if recipe.source.repo or from_hub:
        yield "download"
    if from_hub:
        yield "text"
    if len(texts) == 2:
        yield "overlap"
    if "calibrate" in texts or searches(recipe.quantize):
        yield "calibrate"
    yield from maker_kinds(recipe.quantize)
    if "evaluate" in texts:
        yield "baseline"
    if recipe.evaluate:
        yield "evaluate"


def _later_steps(recipe: Recipe) -> Iterator[str]:
    """The kinds of steps that follow once widths are chosen."""
    known = [*_unlocked_steps(recipe)]
    yield from known[known.index("sensitivity") + 1 :]


def _step_rows(project: Project, plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    needed = {node.key for node in needed_steps(project, plan)}
    built = project.built(plan.recipe.name)
    for node in plan.nodes():
        if project.done(node):
            state, why = "in the store", ""
        elif node.key not in needed:
            state, why = "not needed", "what would need it is in the store"
        else:
            state, why = "would run", changes(project, built, node, plan.names[node.key])
        yield f"  {plan.names[node.key]}", node.key[:12], state, why
