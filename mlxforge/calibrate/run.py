"""Calibration tokens on their way through a model, block by block and stage by stage.

Layers that are given the same array are a stage. A stage's inputs are taken over all windows; what
becomes of its layers then is the caller's, and what follows is run with them as they are by then.
A second model may go along: the source, which stays as it is, for what a layer would have been
given if nothing before it had changed.

Memory holds one stage's statistics, and as much as has room of what the blocks hand on and of what
layers make in the block in hand. On a CPU as many waves of windows run at a time as there are
cores, and whatever they give is taken in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.hessians import Given, Hessian, Sums, experts_at_once
from mlxforge.calibrate.observe import observed
from mlxforge.calibrate.outputs import OUTPUT_BYTES
from mlxforge.calibrate.passage import Passage
from mlxforge.calibrate.shelf import Shelf, States
from mlxforge.models.scoring.leaves.fixed import expert_count, forget_weight, has_matrix
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.models.scoring.loading import attention
from mlxforge.models.scoring.sigmoid import quick_sigmoid
from mlxforge.models.threads import uncompiled
from mlxforge.models.writing.parallel import cores, in_order
from mlxforge.quantize.cpu import on_cpu

__all__ = ["Run", "Stage"]

WAVE_TOKENS = 1024

Stage = tuple[str, ...]
T = TypeVar("T")


class _Enough(Exception):
    """What a stage is given is known, and nothing after it need run."""


class Run:
    """``windows`` (int32 [samples, length]) in ``model``, and in ``source`` beside it, between
    blocks on ``shelf``. ``index``: the block that they have come to; ``waves``: in how many parts;
    ``paths``: those that can be watched."""

    def __init__(
        self,
        model: nn.Module,
        paths: Collection[str],
        windows: np.ndarray,
        source: nn.Module | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        shelf = shelf or Shelf()
        count, length = windows.shape
        step = max(1, WAVE_TOKENS // length)
        waves = [mx.array(windows[at : at + step]) for at in range(0, count, step)]
        models = [model] if source is None else [model, source]
        budget = OUTPUT_BYTES // len(models)
        self._passages = [Passage(each, waves, budget, shelf) for each in models]
        self._main = self._passages[0]
        self.waves = len(waves)
        self.modules = self._main.modules
        self.paths = [path for path in paths if has_matrix(self.modules[path])]

    @property
    def index(self) -> int:
        return self._main.index

    @contextmanager
    def ready(self) -> Iterator[None]:
        """To be run within: the fast ways of this device, for runs again and again."""
        with ExitStack() as stack:
            stack.enter_context(attention(threads=1))  # the waves have one each
            for passage in self._passages:
                stack.enter_context(remembered(passage.root))
            yield

    @property
    def states(self) -> States:
        """What the waves are between two blocks."""
        return self._main.states

    @property
    def passes(self) -> int:
        """Of a wave through a block, in all."""
        return self.waves * self._main.count

    def through(
        self,
        look: Callable[[str, mx.array, mx.array | None], T],
        last: Collection[str],
        first: int = 0,
    ) -> Iterator[list[tuple[str, T]]]:
        """What ``look`` makes of what comes into layers, pass after pass, block after block from
        ``first`` on, which ``states`` stand before. What comes after a layer of ``last`` is not
        run."""
        own, main = threading.local(), self._main

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            own.found.append((path, look(path, x, chosen)))
            if path in last:
                raise _Enough

        for index in range(first, main.count):
            main.enter(index)
            if index == main.count - 1:  # what was tried when the blocks were found is the rest
                main.attempt()
            with observed(main.root, self.paths, tell), main.opened() as run:

                def through(wave: int) -> tuple[Any, list[tuple[str, T]]]:
                    own.found, after = [], None
                    with suppress(_Enough):
                        after = run(wave)
                        mx.eval(after)
                    return after, own.found

                for wave, (after, found) in enumerate(self._each(through)):
                    main.leave(wave, after)
                    yield found

    def stages(self) -> Iterator[Stage]:
        """Every stage, in the order in which the model comes to it."""
        seen: set[str] = set()
        for index in range(self._main.count):
            for passage in self._passages:
                passage.enter(index)
            stages, once = self._stages_here()
            for stage in stages:
                fresh = tuple(path for path in stage if path not in seen)
                seen.update(fresh)
                if fresh:
                    yield fresh
                for path in stage:
                    for passage in self._passages:
                        passage.outputs.passed(path, once=path in once)
            if index < self._main.count - 1:
                for passage in self._passages:
                    self._pass(passage)
                for path in seen:  # this block runs no more
                    forget_weight(self.modules[path])

    def inputs(self, stage: Stage) -> Iterator[tuple[int | None, Hessian]]:
        """What comes into the layers of ``stage``, which is the same for all of them: the number
        of the expert, None of plain layers, with its Hessian. As many experts at a time as have
        room; the windows pass the block for each of these times."""
        path = stage[0]
        module = self.modules[path]
        experts, columns = expert_count(module), module._matrix.columns
        if not experts:
            sums = Sums(columns, drifting=len(self._passages) > 1)
            self.watch(path, sums.add)
            yield None, sums.means(path)[0]
            return
        step = experts_at_once(experts, columns)
        for first in range(0, experts, step):
            sums = Sums(columns, first, min(step, experts - first))
            self.watch(path, sums.add)
            yield from enumerate(sums.means(path), start=first)

    def watch(self, wanted: str, tell: Callable[..., None]) -> None:
        """``tell`` what comes into a layer of this block, wave by wave: what the model gives it,
        and of a plain layer, where the source goes along, what that gives it, each a Given.

        Experts are given rows in the order in which tokens were sent to them: where a token goes
        elsewhere in the source, the rows of the two are not of the same tokens.
        """
        own = threading.local()
        plain = not expert_count(self.modules[wanted])
        passages = self._passages if plain else self._passages[:1]

        def found(path: str, x: mx.array, chosen: mx.array | None) -> None:
            own.found = x, chosen
            raise _Enough

        with ExitStack() as stack:
            for passage in passages:
                stack.enter_context(observed(passage.root, [wanted], found))
            runs = [stack.enter_context(passage.opened()) for passage in passages]

            def look(wave: int) -> list[Given]:
                given: list[Given] = []
                for run in runs:
                    with suppress(_Enough):
                        run(wave)
                        continue  # the wave does not come there
                    mx.eval(own.found)
                    given.append(vars(own).pop("found"))
                return given

            for given in self._each(look):
                if len(given) == len(runs):
                    tell(*given)

    def _pass(self, passage: Passage) -> None:
        """Every wave through the block."""
        with passage.opened() as run:

            def through(wave: int) -> Any:
                after = run(wave)
                mx.eval(after)
                return after

            for wave, after in enumerate(self._each(through)):
                passage.leave(wave, after)

    def _each(self, job: Callable[[int], T]) -> Iterator[T]:
        waves = range(self.waves)
        if not on_cpu():
            yield from map(job, waves)
            return
        with uncompiled(), quick_sigmoid():
            yield from in_order((partial(job, wave) for wave in waves), cores())

    def _stages_here(self) -> tuple[list[Stage], set[str]]:
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

        with observed(self._main.root, self.paths, tell):
            self._main.attempt()
        for other in self._passages[1:]:
            other.attempt()
        stages = [tuple(dict.fromkeys(paths)) for _, paths in given]
        return stages, {path for path in uses if uses.count(path) == 1}
