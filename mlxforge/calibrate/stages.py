"""A model's layers in the order of their use, each run behind what those before have become.

Layers that are given the same array are a stage. A stage's inputs are taken over all windows, and
what becomes of its layers then is the caller's. Memory holds one stage's statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import mlx.core as mx

from mlxforge.calibrate.arrivals import arrivals
from mlxforge.calibrate.drifts import Weigh
from mlxforge.calibrate.hessians import Hessian, Sums, drift_sums, experts_at_once
from mlxforge.calibrate.observe import Given, observed
from mlxforge.calibrate.passage import Passage
from mlxforge.calibrate.residual import Residual, find_residuals
from mlxforge.calibrate.run import Run
from mlxforge.models.scoring.leaves.fixed import expert_count, forget_weight

__all__ = ["Stage", "Stages"]

Stage = tuple[str, ...]

T = TypeVar("T")


class Stages:
    """The stages of ``run``, in the order in which the model comes to them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._passages = run.passages
        self._residuals: dict[str, Residual] = {}

    def __iter__(self) -> Iterator[Stage]:
        """What ``run`` comes to, of layers that it had not come to before."""
        seen: set[str] = set()
        count = self._passages[0].count
        for index in range(count):
            for passage in self._passages:
                passage.enter(index)
            stages, once = self._here()
            self._residuals = self._residuals_of(stages, once)
            for stage in stages:
                fresh = tuple(path for path in stage if path not in seen)
                seen.update(fresh)
                if fresh:
                    yield fresh
                for path in stage:
                    for passage in self._passages:
                        passage.outputs.passed(path, once=path in once)
            if index < count - 1:
                for passage in self._passages:
                    self._pass(passage)
                for path in seen:  # this block runs no more
                    forget_weight(self._run.modules[path])

    def inputs(
        self, stage: Stage, wanted: Collection[str], weigh: Weigh
    ) -> Iterator[tuple[int | None, Hessian]]:
        """What comes into the layers of ``stage``, which is the same for all of them: the number
        of the expert, None of plain layers, with its Hessian. As many experts at a time as have
        room; the windows pass the block for each of these times. Of plain layers those that are
        ``wanted`` may be weighed; whether they are depends on the whole stage alone, and on what
        its output is added to."""
        path = stage[0]
        module = self._run.modules[path]
        experts, columns = expert_count(module), module._matrix.columns
        if not experts:
            drifts = None
            if len(self._passages) > 1:
                rows = {each: self._run.modules[each]._matrix.rows for each in stage}
                drifts = drift_sums(columns, rows, wanted, weigh, path in self._residuals)
            sums = Sums(columns, drifts=drifts)
            for seen in self.seen(path, sums.look):
                sums.add(seen)
            yield None, sums.means(path)[0]
            return
        step = experts_at_once(experts, columns)
        for first in range(0, experts, step):
            sums = Sums(columns, first, min(step, experts - first))
            for seen in self.seen(path, sums.look):
                sums.add(seen)
            yield from enumerate(sums.means(path), start=first)

    def seen(self, wanted: str, look: Callable[..., T]) -> Iterator[T]:
        """What ``look`` makes of what comes into a layer of this block, wave by wave: of what the
        model gives it, and of a plain layer, where the source goes along, of what that gives it,
        each a Given, with what the layer's output is added to where that is known. Several threads
        look at a time.

        Experts are given rows in the order in which tokens were sent to them: where a token goes
        elsewhere in the source, the rows of the two are not of the same tokens.
        """
        plain = not expert_count(self._run.modules[wanted])
        passages = self._passages if plain else self._passages[:1]
        residual = self._residuals.get(wanted)
        with ExitStack() as stack:
            arrive = [stack.enter_context(arrivals(each, wanted, residual)) for each in passages]

            def through(wave: int) -> tuple[T, ...]:
                given: list[Given] = []
                for each in arrive:
                    if (here := each(wave)) is None:
                        return ()
                    given.append(here)
                return (look(*given),)

            for looked in self._run.each(through):
                yield from looked

    def _pass(self, passage: Passage) -> None:
        """Every wave through the block."""
        with passage.opened() as run:

            def through(wave: int) -> Any:
                after = run(wave)
                mx.eval(after)
                return after

            for wave, after in enumerate(self._run.each(through)):
                passage.leave(wave, after)

    def _here(self) -> tuple[list[Stage], set[str]]:
        """Layers of this block that are given the same array, in the order of their use; and
        those that are used once."""
        given: list[tuple[mx.array, list[str]]] = []
        uses: list[str] = []

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            uses.append(path)
            if given and given[-1][0] is x:
                given[-1][1].append(path)
            else:
                given.append((x, [path]))

        main, *others = self._passages
        with observed(main.root, self._run.paths, tell):
            main.attempt()
        for other in others:
            other.attempt()
        stages = [tuple(dict.fromkeys(paths)) for _, paths in given]
        return stages, {path for path in uses if uses.count(path) == 1}

    def _residuals_of(self, stages: list[Stage], once: set[str]) -> dict[str, Residual]:
        """Of plain layers that have no others in their stage, where the source goes along."""
        if len(self._passages) == 1:
            return {}
        alone = {path for path, *others in stages if not others and path in once}
        layers = {path: self._run.modules[path] for path in alone}
        plain = {path: layer for path, layer in layers.items() if not expert_count(layer)}
        main = self._passages[0]
        return find_residuals(main.within, main.attempt, plain)
