"""Calibration tokens on their way through a model, block by block.

A second model may go along: the source, which stays as it is, for what a layer would have been
given if nothing before it had changed (see mlxforge.calibrate.stages).

What the blocks hand on, and what layers make in the block in hand, is on a shelf. On a CPU as many
waves of windows run at a time as there are cores, and whatever they give is taken in their order.
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

from mlxforge.calibrate.observe import Enough, observed
from mlxforge.calibrate.passage import Passage
from mlxforge.calibrate.shelf import Shelf, States
from mlxforge.models.scoring.leaves.fixed import has_matrix
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.models.scoring.loading import attention
from mlxforge.models.scoring.sigmoid import quick_sigmoid
from mlxforge.models.threads import uncompiled
from mlxforge.models.writing.parallel import cores, in_order
from mlxforge.quantize.cpu import on_cpu

__all__ = ["Run"]

WAVE_TOKENS = 1024

T = TypeVar("T")


class Run:
    """``windows`` (int32 [samples, length]) in ``model``, and in ``source`` beside it, between
    blocks on ``shelf``. ``index``: the block that they have come to; ``waves``: in how many parts;
    ``paths``: those that can be watched; ``passages``: one for each of the models; ``shelf``."""

    def __init__(
        self,
        model: nn.Module,
        paths: Collection[str],
        windows: np.ndarray,
        source: nn.Module | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.shelf = shelf or Shelf()
        count, length = windows.shape
        step = max(1, WAVE_TOKENS // length)
        waves = [mx.array(windows[at : at + step]) for at in range(0, count, step)]
        models = [model] if source is None else [model, source]
        self.passages = tuple(Passage(each, waves, self.shelf) for each in models)
        self._main = self.passages[0]
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
            for passage in self.passages:
                stack.enter_context(remembered(passage.root, self.shelf.spare_on_disk))
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
                raise Enough

        for index in range(first, main.count):
            main.enter(index)
            if index == main.count - 1:  # what was tried when the blocks were found is the rest
                main.attempt()
            with observed(main.root, self.paths, tell), main.opened() as run:

                def through(wave: int) -> tuple[Any, list[tuple[str, T]]]:
                    own.found, after = [], None
                    with suppress(Enough):
                        after = run(wave)
                        mx.eval(after)
                    return after, own.found

                for wave, (after, found) in enumerate(self.each(through)):
                    main.leave(wave, after)
                    yield found

    def each(self, job: Callable[[int], T]) -> Iterator[T]:
        """What ``job`` makes of every wave, by its number."""
        waves = range(self.waves)
        if not on_cpu():
            yield from map(job, waves)
            return
        with uncompiled(), quick_sigmoid():
            yield from in_order((partial(job, wave) for wave in waves), cores(), ahead=cores())
