"""A descent that goes on where a killed one stood, and what is kept of it in the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from mlxforge.calibrate.distill.descent import Descent, Parameters, Problem, State, descend
from mlxforge.calibrate.distill.pair import Stage
from mlxforge.calibrate.distill.student import Values
from mlxforge.calibrate.finite import OVERFLOWS
from mlxforge.calibrate.kept import Kept, Pace
from mlxforge.errors import ForgeError
from mlxforge.recipe.methods import Dwq as Settings

__all__ = ["Solved", "end_descent", "keep_values", "kept_values", "solve"]

DESCENT = "descent"


@dataclass(frozen=True)
class Solved:
    """What became of a stage: its losses ``before`` and ``after``, how many ``iterations`` were
    made, and the ``names`` of its values, which ``read`` gives: they are on the disk."""

    before: float
    after: float
    iterations: int
    names: frozenset[str]
    read: Callable[[], Values]


def solve(
    problem: Problem,
    start: Parameters,
    settings: Settings,
    number: int,
    name: str,
    kept: Kept,
    report: Callable[[int], None],
) -> Descent:
    """``number`` is that of the stage, and the seed of its batches; ``report`` is told how many
    iterations are done. Raises ForgeError with the ``name`` of what is trained where its loss is
    not finite to begin with."""
    pace = Pace()

    def keep(state: State) -> None:
        report(state.step)
        if pace.due():
            with pace.keeping():
                kept.save(DESCENT, state.arrays(), stage=number, **state.facts())

    found = kept.load(DESCENT)
    before = None
    if found and found[1].pop("stage") == number:
        before = State.of(*found)
    descent = descend(
        problem, start, settings.iterations, settings.learning_rate, number, before, keep
    )
    if not math.isfinite(descent.before):
        raise ForgeError(f"what {name} makes of the calibration tokens is not finite", OVERFLOWS)
    return descent


def keep_values(kept: Kept, stage: Stage, values: Values, found: Descent) -> None:
    facts: Mapping[str, float] = {
        "before": found.before, "after": found.after, "iterations": found.steps,
    }  # fmt: skip
    kept.save(_name(stage), values, **facts)


def end_descent(kept: Kept) -> None:
    """All that it led to is kept."""
    kept.drop(DESCENT)


def kept_values(kept: Kept, stage: Stage) -> Solved | None:
    name = _name(stage)
    if not (told := kept.told(name)):
        return None
    return Solved(**told.facts, names=told.names, read=partial(_values, kept, name))


def _values(kept: Kept, name: str) -> Values:
    found = kept.load(name)
    assert found is not None  # it was there before
    return found[0]


def _name(stage: Stage) -> str:
    return f"stage-{stage.number:05d}"
