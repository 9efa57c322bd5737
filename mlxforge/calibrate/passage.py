"""One model's windows on their way through it, as far as they have come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.calibrate.blocks import PROBE, Blocks
from mlxforge.calibrate.outputs import Outputs
from mlxforge.calibrate.shelf import Shelf
from mlxforge.calibrate.states import joinable, part

__all__ = ["Passage"]


class Passage:
    """What each of ``waves`` (tokens [windows, length]) is when it enters the block ``index``, on
    a ``shelf``. ``root`` is all of the model, of one that sees too."""

    def __init__(self, model: nn.Module, waves: Sequence[mx.array], shelf: Shelf) -> None:
        self.root: nn.Module = getattr(model, "whole", model)
        self.modules: dict[str, nn.Module] = dict(self.root.named_modules())
        self.waves = waves
        self.index = 0
        self.outputs = Outputs(self.modules, shelf)
        self._blocks = Blocks(model, waves[0][:1, :PROBE])
        self.states = shelf.states(len(waves))

    @property
    def within(self) -> dict[str, nn.Module]:
        """The modules of the block in hand, by their paths in it; none behind the last one, nor
        where blocks are run as one."""
        block = self._blocks.module(self.index)
        return {} if block is None else {path: each for path, each in block.named_modules() if path}

    @property
    def count(self) -> int:
        """Of blocks, and what comes behind the last one."""
        return len(self._blocks) + (not self._blocks.whole)

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], Any]]:
        """The block in hand for a wave, by several threads if need be."""
        with self.outputs.given(), self._blocks.opened(self.index) as run:

            def go(wave: int) -> Any:
                with self.outputs.of(wave):
                    return run(self.waves[wave], self.states[wave])

            yield go

    def leave(self, wave: int, after: Any) -> None:
        """What the block in hand made of a wave; all waves leave before the next is entered."""
        self.states[wave] = after

    def enter(self, index: int) -> None:
        self.outputs.clear()
        self.index = index

    def attempt(self) -> Any:
        """What the block in hand makes of a few tokens. What modules made without evaluating it,
        such as frequencies, is evaluated by this thread: threads may only share what is."""
        tokens, before = self.waves[0], self.states[0]
        if before is None or joinable(before, *tokens.shape):
            tokens = tokens[:1, :PROBE]
            before = part(before, 0, 0, PROBE)
        after = self._blocks.run(self.index, tokens, before)
        mx.eval(after)
        return after
