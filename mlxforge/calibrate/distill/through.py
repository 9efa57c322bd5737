"""A whole quantized model trained at once, by its divergence from the source.

The loss's gradient goes back block by block: what came into each block was noted on the way there,
and the block is run again to be gone through backwards. So one block's weights are decoded at a
time; the codes of all of them, and what Adam remembers, are in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import mlx.core as mx

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.distill.descent import Parameters, Problem
from mlxforge.calibrate.distill.divergence import Head
from mlxforge.calibrate.distill.flows import flowing, with_flowing
from mlxforge.calibrate.distill.objective import held, mean_of
from mlxforge.calibrate.distill.pair import Pair
from mlxforge.calibrate.distill.student import Layers

__all__ = ["through_problem"]


def through_problem(pair: Pair, layers: Mapping[int, Layers], temperature: float) -> Problem:
    """``layers`` of every stage, by its number; the parameters are those of all of them."""
    found = _Through(pair, layers, temperature)
    start = {name: value for own in layers.values() for name, value in own.start().items()}
    return held(pair, start, found.gradient, found.held_out, pair.anchors(layers))


class _Through:
    def __init__(self, pair: Pair, layers: Mapping[int, Layers], temperature: float) -> None:
        self._pair, self._layers = pair, layers
        self._tokens = pair.batches.tokens
        self._head = Head(pair.source, pair.student, temperature, pair.lanes)
        self._names = {number: list(found.start()) for number, found in layers.items()}
        self._last = len(pair.student)
        self._wanted = [
            self._states(pair.source, batch, None)[-1] for batch in range(len(self._tokens))
        ]

    def gradient(self, parameters: Parameters, batch: int) -> Parameters:
        tokens = self._tokens[batch]
        states = self._states(self._pair.student, batch, parameters)
        own = self._own(parameters, self._last)
        found, back = self._head.gradient(
            tokens, self._wanted[batch], states.pop(), self._layers[self._last], own
        )
        for index in reversed(range(self._last)):
            before = states.pop()
            more, back = self._back(index, batch, before, self._own(parameters, index), back)
            found |= more
            mx.eval(found, back)
        return found

    def held_out(self, parameters: Parameters) -> float:
        def loss(batch: int) -> float:
            tokens = self._tokens[batch]
            states = self._states(self._pair.student, batch, parameters)[-1]
            with self._layers[self._last].used(self._own(parameters, self._last), decoded=True):
                return self._head.mean(tokens, self._wanted[batch], states)

        return mean_of(self._pair, loss)

    def _states(self, blocks: Blocks, batch: int, parameters: Parameters | None) -> list[Any]:
        """What comes into each block, and what the last one gives. The source has no parameters,
        and of its states only the last are kept."""
        found: list[Any] = [None]
        for index in range(self._last):
            if parameters is None:
                found = [self._pair.passed(blocks, index, batch, found[-1])]
                continue
            with self._layers[index].used(self._own(parameters, index), decoded=True):
                found.append(self._pair.passed(blocks, index, batch, found[-1]))
        return found

    def _back(
        self, index: int, batch: int, before: Any, own: Parameters, after: list[mx.array]
    ) -> tuple[Parameters, list[mx.array]]:
        """From the gradient by what a block gives to those by its parameters and by what it is
        given."""
        parts = self._pair.parts(batch, before, *after)
        jobs = (
            partial(self._piece, index, own, tokens, mine, more)
            for _, tokens, (mine, *more) in parts
        )
        total: Parameters = {}
        backs = []
        for found in self._pair.lanes.each(jobs):
            mine = dict(zip(own, found, strict=False))
            total = {name: total[name] + mine[name] if total else mine[name] for name in mine}
            backs.append(found[len(own) :])
            mx.eval(total)
        if len(backs) == 1:
            return total, backs[0]
        return total, [mx.concatenate(list(pieces)) for pieces in zip(*backs, strict=True)]

    def _piece(
        self, index: int, own: Parameters, tokens: mx.array, before: Any, after: list[mx.array]
    ) -> list[mx.array]:
        def run(*arrays: mx.array) -> list[mx.array]:
            parameters = dict(zip(own, arrays, strict=False))
            state = with_flowing(before, arrays[len(own) :])
            with self._layers[index].used(parameters):
                return flowing(self._pair.student.run(index, tokens, state))

        _, found = mx.vjp(run, [*own.values(), *flowing(before)], after)
        return list(found)

    def _own(self, parameters: Parameters, number: int) -> Parameters:
        return {name: parameters[name] for name in self._names[number]}
