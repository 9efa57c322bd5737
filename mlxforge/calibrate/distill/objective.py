"""What each stage of a distillation makes small.

    a block     the square between its output and the source's own states behind that block
    the head    the divergence from the source's distribution
    the model   the same, where its blocks cannot be run one by one

All of them relative to the start's, and beside them what holds the weights to the source's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.distill.anchor import Anchors
from mlxforge.calibrate.distill.descent import Parameters, Problem
from mlxforge.calibrate.distill.divergence import Head, divergence
from mlxforge.calibrate.distill.flows import flowing
from mlxforge.calibrate.distill.pair import Pair, Stage
from mlxforge.calibrate.distill.student import Layers
from mlxforge.calibrate.shelf import States

__all__ = [
    "block_problem",
    "head_problem",
    "held",
    "mean_of",
    "model_problem",
]

TINY = 1e-20


def block_problem(
    pair: Pair, stage: Stage, layers: Layers, states: States, wanted: States, anchors: Anchors
) -> Problem:
    """``states`` come into the block, ``wanted`` are those of the source behind it."""

    def run(tokens: mx.array, before: Any, after: Any) -> mx.array:
        return _distance(pair.student.run(stage.number, tokens, before), after)

    return anchored(pair, layers, run, lambda batch: (states[batch], wanted[batch]), anchors)


def model_problem(pair: Pair, layers: Layers, temperature: float, anchors: Anchors) -> Problem:
    def run(tokens: mx.array) -> mx.array:
        wanted = mx.stop_gradient(pair.source.run(0, tokens, None))
        return divergence(wanted, pair.student.run(0, tokens, None), temperature).mean()

    return anchored(pair, layers, run, lambda batch: (), anchors)


def head_problem(
    pair: Pair, layers: Layers, head: Head, states: States, wanted: States, anchors: Anchors
) -> Problem:
    """``states`` and ``wanted`` are the student's and the source's behind the last block."""
    tokens = pair.batches.tokens

    def gradient(parameters: Parameters, batch: int) -> Parameters:
        found, _ = head.gradient(tokens[batch], wanted[batch], states[batch], layers, parameters)
        return found

    def held_out(parameters: Parameters) -> float:
        with layers.used(parameters, decoded=True):
            return mean_of(pair, lambda b: head.mean(tokens[b], wanted[b], states[b]))

    return held(pair, layers.start(), gradient, held_out, anchors)


def anchored(
    pair: Pair,
    layers: Layers,
    run: Callable[..., mx.array],
    states: Callable[[int], tuple[Any, ...]],
    anchors: Anchors,
) -> Problem:
    """Where ``run`` gives the mean loss over tokens and the ``states`` of a batch."""

    def loss(parameters: Parameters, *piece: Any) -> mx.array:
        with layers.used(parameters):
            return run(*piece)

    slope = mx.grad(loss)

    def gradient(parameters: Parameters, batch: int) -> Parameters:
        parts = pair.parts(batch, *states(batch))
        jobs = (partial(slope, parameters, tokens, *mine) for _, tokens, mine in parts)
        total: Parameters = {}
        for (count, *_), found in zip(parts, pair.lanes.each(jobs), strict=True):
            share = count / len(pair.batches.tokens[batch])
            found = {name: share * value for name, value in found.items()}
            total = {name: total[name] + found[name] if total else found[name] for name in found}
            mx.eval(total)
        return total

    def held_out(parameters: Parameters) -> float:
        with layers.used(parameters, decoded=True):
            return mean_of(pair, mean)

    def mean(batch: int) -> float:
        parts = pair.parts(batch, *states(batch))
        jobs = (partial(run, tokens, *mine) for _, tokens, mine in parts)
        sizes = [count for count, *_ in parts]
        return float(np.average([float(v) for v in pair.lanes.each(jobs)], weights=sizes))

    return held(pair, layers.start(), gradient, held_out, anchors)


def held(
    pair: Pair,
    start: Parameters,
    gradient: Callable[[Parameters, int], Parameters],
    held_out: Callable[[Parameters], float],
    anchors: Anchors,
) -> Problem:
    """A loss, relative to the start's on what is held out, and what holds the weights."""
    unit = held_out(start) or 1.0

    def both(parameters: Parameters, batch: int) -> Parameters:
        found, held = gradient(parameters, batch), mx.grad(anchors.loss)(parameters)
        return {name: slope / unit + held[name] for name, slope in found.items()}

    def judge(parameters: Parameters) -> float:
        return held_out(parameters) / unit + float(anchors.loss(parameters))

    return Problem(pair.batches.training, both, judge)


def mean_of(pair: Pair, loss: Callable[[int], float]) -> float:
    """Over the windows held out, whose batches need not be alike."""
    sizes = [len(pair.batches.tokens[batch]) for batch in pair.batches.held_out]
    return float(np.average([loss(batch) for batch in pair.batches.held_out], weights=sizes))


def _distance(found: Any, wanted: Any) -> mx.array:
    """The mean over tokens of the square between two states, over the wanted one's own square.

    The blocks behind norm each token's state; and a few tokens, whose states are a thousand times
    the others', would else be all that counts.
    """
    total = mx.array(0.0)
    for one, other in zip(flowing(found), flowing(wanted), strict=True):
        squares = mx.maximum(mx.square(other).sum(axis=-1), TINY)
        total = total + (mx.square(one - other).sum(axis=-1) / squares).mean()
    return total
