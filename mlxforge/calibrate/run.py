"""A calibration text on its way through a model, block by block and stage by stage.

Layers that are given the same array are a stage. A stage's inputs are taken over all windows; what
becomes of its layers then is the caller's, and what follows is run with them as they are by then.
Memory holds one stage's statistics, what the blocks hand on, and of what layers make in the block
in hand as much as has room. On a CPU as many waves of windows run at a time as there are cores,
and whatever they give is taken in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.hessians import Hessian, Sums, experts_at_once
from mlxforge.calibrate.observe import observed
from mlxforge.calibrate.outputs import Outputs
from mlxforge.calibrate.states import joinable, part
from mlxforge.models.scoring.leaves.fixed import expert_count, forget_weight, has_matrix
from mlxforge.models.writing.parallel import cores, in_order

__all__ = ["Run", "Stage"]

WAVE_TOKENS = 1024
PROBE = 16  # tokens

Stage = tuple[str, ...]
T = TypeVar("T")


class _Enough(Exception):
    """What a stage is given is known, and nothing after it need run."""


class Run:
    """The windows on their way through the model: what every wave is when it enters a block, and
    the ``index`` of the block that they have come to. Of ``paths`` those that can be watched."""

    def __init__(self, model: nn.Module, paths: Collection[str], windows: np.ndarray) -> None:
        count, length = windows.shape
        step = max(1, WAVE_TOKENS // length)
        self._waves = [mx.array(windows[at : at + step]) for at in range(0, count, step)]
        self._before: list[Any] = [None] * len(self._waves)
        self._root = getattr(model, "whole", model)
        self.modules = dict(self._root.named_modules())
        self.paths = [path for path in paths if has_matrix(self.modules[path])]
        self._outputs = Outputs(self.modules)
        self._blocks = Blocks(model, self._waves[0][:1, :PROBE])
        self._ends = len(self._blocks) + (not self._blocks.whole)  # what comes last included
        self.index = 0

    def stages(self) -> Iterator[Stage]:
        """Every stage, in the order in which the model comes to it."""
        seen: set[str] = set()
        for index in range(self._ends):
            self.index = index
            stages, once = self._stages_here()
            for stage in stages:
                fresh = tuple(path for path in stage if path not in seen)
                seen.update(fresh)
                if fresh:
                    yield fresh
                for path in stage:
                    self._outputs.passed(path, once=path in once)
            if index < self._ends - 1:
                self._pass()
                for path in seen:  # this block runs no more
                    forget_weight(self.modules[path])

    @property
    def passes(self) -> int:
        """Of a wave through a block, in all."""
        return len(self._waves) * self._ends

    def through(
        self, look: Callable[[str, mx.array, mx.array | None], T], last: Collection[str]
    ) -> Iterator[list[tuple[str, T]]]:
        """What ``look`` makes of what comes into layers, pass after pass, block after block. What
        comes after a layer of ``last`` is not run."""
        own = threading.local()

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            own.found.append((path, look(path, x, chosen)))
            if path in last:
                raise _Enough

        for index in range(self._ends):
            self.index = index
            if index == self._ends - 1:  # what was tried when the blocks were found is the rest
                self._try()
            with observed(self._root, self.paths, tell), self._blocks.opened(index) as run:

                def through(wave: int) -> tuple[Any, list[tuple[str, T]]]:
                    own.found, after = [], None
                    with suppress(_Enough):
                        after = run(self._waves[wave], self._before[wave])
                        mx.eval(after)
                    return after, own.found

                for wave, (after, found) in enumerate(self._each(through)):
                    self._before[wave] = after
                    yield found

    def inputs(self, stage: Stage) -> Iterator[tuple[int | None, Hessian]]:
        """What comes into the layers of ``stage``, which is the same for all of them: the number
        of the expert, None of plain layers, with its Hessian. As many experts at a time as have
        room; the windows pass the block for each of these times."""
        path = stage[0]
        module = self.modules[path]
        experts, columns = expert_count(module), module._matrix.columns
        if not experts:
            sums = Sums(columns)
            self.watch(path, sums.add)
            yield None, sums.means(path)[0]
            return
        step = experts_at_once(experts, columns)
        for first in range(0, experts, step):
            sums = Sums(columns, first, min(step, experts - first))
            self.watch(path, sums.add)
            yield from enumerate(sums.means(path), start=first)

    def watch(self, wanted: str, tell: Callable[[mx.array, mx.array | None], None]) -> None:
        """``tell`` what comes into a layer of this block, wave by wave, and to which experts."""
        own = threading.local()

        def found(path: str, x: mx.array, chosen: mx.array | None) -> None:
            own.found = x, chosen
            raise _Enough

        with observed(self._root, [wanted], found), self._opened() as run:

            def look(wave: int) -> tuple[mx.array, mx.array | None] | None:
                own.found = None
                with suppress(_Enough):
                    run(wave)
                    return None  # the wave does not come there
                mx.eval(own.found)
                return vars(own).pop("found")  # type: ignore[no-any-return]

            for given in self._each(look):
                if given is not None:
                    tell(*given)

    def _pass(self) -> None:
        """Every wave through the block."""
        with self._opened() as run:

            def through(wave: int) -> Any:
                after = run(wave)
                mx.eval(after)
                return after

            for wave, after in enumerate(self._each(through)):
                self._before[wave] = after
        self._outputs.clear()

    def _each(self, job: Callable[[int], T]) -> Iterator[T]:
        jobs = (partial(job, wave) for wave in range(len(self._waves)))
        on_cpu = mx.default_device() == mx.Device(mx.cpu)
        return in_order(jobs, cores() if on_cpu else 1)

    @contextmanager
    def _opened(self) -> Iterator[Callable[[int], Any]]:
        """The block in hand, for a wave."""
        with self._outputs.given() as take, self._blocks.opened(self.index) as run:

            def go(wave: int) -> Any:
                take(wave)
                return run(self._waves[wave], self._before[wave])

            yield go

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

        with observed(self._root, self.paths, tell):
            self._try()
        stages = [tuple(dict.fromkeys(paths)) for _, paths in given]
        return stages, {path for path in uses if uses.count(path) == 1}

    def _try(self) -> None:
        """The block in hand on a few tokens. What modules made without evaluating it, such as
        frequencies, is evaluated by this thread: threads may only share what is."""
        tokens, before = self._waves[0], self._before[0]
        if before is None or joinable(before, *tokens.shape):
            tokens = tokens[:1, :PROBE]
            before = part(before, 0, 0, PROBE)
        mx.eval(self._blocks.run(self.index, tokens, before))
