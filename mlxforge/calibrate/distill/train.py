"""Training a quantized model against its source, in the scope that a recipe names."""

from __future__ import annotations

from mlxforge.calibrate.distill.blockwise import train_blocks
from mlxforge.calibrate.distill.fitting import check_fits
from mlxforge.calibrate.distill.pair import Pair
from mlxforge.calibrate.distill.solve import (
    Solved,
    end_descent,
    keep_values,
    kept_values,
    solve,
)
from mlxforge.calibrate.distill.through import through_problem
from mlxforge.calibrate.kept import Kept
from mlxforge.calibrate.shelf import Shelf
from mlxforge.models.memory import available_bytes
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.progress import Progress
from mlxforge.recipe.methods import Dwq as Settings

__all__ = ["train"]


def train(
    pair: Pair, settings: Settings, kept: Kept, progress: Progress, shelf: Shelf | None = None
) -> dict[int, Solved]:
    """By the number of a stage what became of it; stages with nothing to train, and those
    whose experts all saw too few tokens, are left out. ``shelf`` has what blocks hand on.

    Whatever ``kept`` holds of a run before is taken up, and leads to the same values. Raises
    ForgeError where the memory does not do for the scope.
    """
    with remembered(pair.student_root), remembered(pair.source_root):
        done = all(kept_values(kept, stage) for stage in pair.stages if stage.paths)
        if not done and (pair.whole or settings.scope == "model"):
            check_fits(pair, available_bytes())
        if settings.scope == "blocks" or pair.whole:
            train_blocks(pair, settings, kept, progress, shelf or Shelf())
        elif not done:
            _train_model(pair, settings, kept, progress)
    found = {stage.number: kept_values(kept, stage) for stage in pair.stages}
    return {number: solved for number, solved in found.items() if solved and solved.names}


def _train_model(pair: Pair, settings: Settings, kept: Kept, progress: Progress) -> None:
    layers = {stage.number: pair.layers(stage, settings.norms) for stage in pair.stages}
    start = {name: value for own in layers.values() for name, value in own.start().items()}
    if not start:
        return
    found = solve(
        through_problem(pair, layers, settings.temperature), start, settings, 0, "the model",
        kept,
        lambda step: progress(step, settings.iterations, "iterations"),
    )  # fmt: skip
    for stage in pair.stages:
        mine = layers[stage.number]
        own = {name: found.parameters[name] for name in mine.start()}
        keep_values(kept, stage, mine.values(own) if own else {}, found)
    end_descent(kept)
