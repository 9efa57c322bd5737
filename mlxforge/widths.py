"""Choosing a recipe's widths by what was measured, and keeping them in its lock."""

from __future__ import annotations

from dataclasses import replace

from mlxforge.checks import layer_table
from mlxforge.lock import LockedWidths, lock_file, write_lock
from mlxforge.lock.digests import model_digest
from mlxforge.locking import lock_now
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.widths import NEAR, choose_widths
from mlxforge.plan import Plan
from mlxforge.project import Project

__all__ = ["lock_widths"]

DIGITS = 4  # of bits per weight


def lock_widths(project: Project, plan: Plan) -> str:
    """Choose the bits of every layer by the finished ``plan.sensitivity``, and write them into the
    recipe's lock, which is made where there is none; what was done."""
    from mlxforge.calibrate.dynamic.records import read_sensitivities

    recipe = plan.recipe
    assert plan.sensitivity is not None and recipe.quantize.dynamic is not None
    table = layer_table(project, plan)
    costs = {path: found.at for path, found in
             read_sensitivities(project.path_of(plan.sensitivity)).items()}  # fmt: skip
    found = choose_widths(
        table, assign(table, plan.wanted), recipe.quantize.dtype, recipe.quantize.dynamic, costs
    )
    widths = LockedWidths(
        model_digest(recipe.document), round(found.bits_per_weight, DIGITS), found.bits
    )
    lock = project.lock(recipe) or lock_now(project, recipe, ask=False)
    write_lock(lock_file(recipe.file, recipe.name), recipe.name, replace(lock, widths=widths))
    count = f"{len(found.bits)} layer{'' if len(found.bits) == 1 else 's'}"
    done = f"locked {recipe.name}: widths for {count}, {found.bits_per_weight:.2f} bits per weight"
    below = recipe.quantize.dynamic.target_bits_per_weight - found.bits_per_weight
    return done if below <= NEAR else f"{done}, {below:.2f} below the target"
