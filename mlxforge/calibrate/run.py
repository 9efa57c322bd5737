"""A calibration text on its way through a model, block by block and stage by stage.

Layers that are given the same array are a stage. A stage's inputs are taken over all windows; what
becomes of its layers then is the caller's, and what follows is run with them as they are by then.
Memory holds one block's weights, one stage's statistics, and what the blocks hand on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.hessians import Hessian, Sums, experts_at_once
from mlxforge.calibrate.observe import observed
from mlxforge.models.scoring.leaves.fixed import expert_count, forget_weight, has_matrix

__all__ = ["Run", "Stage"]

WAVE_TOKENS = 2048
PROBE = 16  # tokens

Stage = tuple[str, ...]


class _Enough(Exception):
    """What a stage is given is known, and nothing after it need run."""


class Run:
    """The windows on their way through the model: what every wave is when it enters a block, and
    the ``index`` of the block that they have come to."""

    def __init__(self, model: nn.Module, paths: Collection[str], windows: np.ndarray) -> None:
        count, length = windows.shape
        step = max(1, WAVE_TOKENS // length)
        self._waves = [mx.array(windows[at : at + step]) for at in range(0, count, step)]
        self._before: list[Any] = [None] * len(self._waves)
        self._root = getattr(model, "whole", model)
        self.modules = dict(self._root.named_modules())
        self._paths = [path for path in paths if has_matrix(self.modules[path])]
        self._blocks = Blocks(model, self._waves[0][:1, :PROBE])
        self.index = 0

    def stages(self) -> Iterator[Stage]:
        """Every stage, in the order in which the model comes to it."""
        seen: set[str] = set()
        for index in range(len(self._blocks) + 1):
            self.index = index
            for stage in self._stages_here():
                fresh = tuple(path for path in stage if path not in seen)
                seen.update(fresh)
                if fresh:
                    yield fresh
            if index < len(self._blocks):
                self._before = [_evaluated(self._go(wave)) for wave in range(len(self._waves))]
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

        def found(path: str, x: mx.array, chosen: mx.array | None) -> None:
            tell(x, chosen)
            raise _Enough

        with observed(self._root, [wanted], found):
            for wave in range(len(self._waves)):
                with suppress(_Enough):
                    self._go(wave)

    def _go(self, wave: int) -> Any:
        return self._blocks.run(self.index, self._waves[wave], self._before[wave])

    def _stages_here(self) -> list[Stage]:
        """Layers of this block that are given the same array, in the order of their use."""
        given: list[tuple[mx.array, list[str]]] = []

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            if given and given[-1][0] is x:
                given[-1][1].append(path)
            else:
                given.append((x, [path]))

        with observed(self._root, self._paths, tell):
            self._go(0)
        return [tuple(dict.fromkeys(paths)) for _, paths in given]


def _evaluated(value: Any) -> Any:
    mx.eval(value)
    return value
