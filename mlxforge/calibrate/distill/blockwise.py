"""Scales and biases of a quantized model trained against its source, one block at a time.

Each block learns to give the source's own states from those that the blocks before it give now,
once they are trained; so what they could not mend, it may. What lies behind the last block learns
the source's distribution. Memory holds one block, and of what the blocks hand on as much as has
room.
"""

from __future__ import annotations

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.distill.descent import Parameters, Problem
from mlxforge.calibrate.distill.divergence import Head
from mlxforge.calibrate.distill.objective import block_problem, head_problem, model_problem
from mlxforge.calibrate.distill.pair import Pair, Stage
from mlxforge.calibrate.distill.solve import end_descent, keep_values, kept_values, solve
from mlxforge.calibrate.distill.student import Layers
from mlxforge.calibrate.halts import Halts
from mlxforge.calibrate.kept import Kept
from mlxforge.calibrate.shelf import Shelf, States
from mlxforge.progress import Progress
from mlxforge.recipe.methods import Dwq as Settings

__all__ = ["train_blocks"]


def train_blocks(
    pair: Pair, settings: Settings, kept: Kept, progress: Progress, shelf: Shelf
) -> None:
    """Train every stage of ``pair``, and keep its values; what is kept already, is not trained."""
    run = _Run(pair, settings, kept, progress, shelf)
    for stage in pair.stages[run.first :]:
        run.train(stage)


class _Run:
    """The states of all batches on their way through both models, up to the stage ``first``."""

    def __init__(
        self, pair: Pair, settings: Settings, kept: Kept, progress: Progress, shelf: Shelf
    ) -> None:
        self._pair, self._settings = pair, settings
        self._kept, self._progress = kept, progress
        self._tokens = pair.batches.tokens
        self._source = shelf.states(len(self._tokens))
        self._student = shelf.states(len(self._tokens))
        self._halts = Halts(kept, {"source": self._source, "student": self._student})
        self.first, _ = self._halts.found()

    def train(self, stage: Stage) -> None:
        """Train ``stage``, and take all batches past it."""
        block = not self._pair.whole and stage.number < len(self._pair.student)
        if block:
            self._pass(self._pair.source, stage, self._source)
        known = kept_values(self._kept, stage)
        layers = self._pair.layers(stage, self._settings.norms, known.read() if known else None)
        parameters = layers.start()
        if parameters and known is None:
            parameters = self._solved(stage, layers, self._problem(stage, layers))
        if block:
            with layers.used(parameters, decoded=True):
                self._pass(self._pair.student, stage, self._student)
            self._halts.keep(stage.number + 1)
        iterations = self._settings.iterations
        self._progress((stage.number + 1) * iterations, self._total(), "iterations")

    def _problem(self, stage: Stage, layers: Layers) -> Problem:
        anchors = self._pair.anchors({stage.number: layers})
        if self._pair.whole:
            return model_problem(self._pair, layers, self._settings.temperature, anchors)
        if stage.number < len(self._pair.student):
            return block_problem(self._pair, stage, layers, self._student, self._source, anchors)
        pair, temperature = self._pair, self._settings.temperature
        head = Head(pair.source, pair.student, temperature, pair.lanes)
        return head_problem(pair, layers, head, self._student, self._source, anchors)

    def _solved(self, stage: Stage, layers: Layers, problem: Problem) -> Parameters:
        done = stage.number * self._settings.iterations
        found = solve(
            problem, layers.start(), self._settings, stage.number, stage.name, self._kept,
            lambda step: self._progress(done + step, self._total(), "iterations"),
        )  # fmt: skip
        keep_values(self._kept, stage, layers.values(found.parameters), found)
        end_descent(self._kept)
        return found.parameters

    def _pass(self, blocks: Blocks, stage: Stage, states: States) -> None:
        for batch in range(len(states)):
            states[batch] = self._pair.passed(blocks, stage.number, batch, states[batch])

    def _total(self) -> int:
        return len(self._pair.stages) * self._settings.iterations
