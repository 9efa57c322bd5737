"""Which of the trained values make the whole model better: judged from its tokens to its logits.

Blocks were judged one by one, and a tied embedding by its use as a head. Here the windows held out
go through all of the model, once with nothing trained, once with its blocks, once with its head as
well; whichever is nearest to the source is kept. So the result is never worse than the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.distill.divergence import Head, divergence
from mlxforge.calibrate.distill.pair import Pair, Stage
from mlxforge.calibrate.distill.solve import Solved
from mlxforge.calibrate.distill.student import Values, trainable_paths
from mlxforge.calibrate.shelf import Shelf, States
from mlxforge.models.scoring.leaves.fixed import fix_weight
from mlxforge.models.scoring.leaves.layers import HeldEmbedding
from mlxforge.quantize.affine import Affine

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """``before`` and ``after``: mean KL to the source on the windows held out, in nats, of the
    start and of what is kept; ``kept``: the stages whose values are, by their number."""

    before: float
    after: float
    kept: Mapping[int, Solved]


def judge(pair: Pair, solved: Mapping[int, Solved], shelf: Shelf) -> Verdict:
    """Of all stages that were trained; what blocks hand on is on ``shelf``. ``pair`` is of no use
    afterwards."""
    last = 0 if pair.whole else len(pair.student)
    blocks = {number: found for number, found in solved.items() if number < last}
    nothing: Mapping[int, Solved] = {}
    tried = [nothing] + [kept for kept in (blocks, solved) if kept]
    if len(tried) == 3 and len(blocks) == len(solved):
        del tried[2]
    wanted, states = (shelf.states(len(pair.batches.held_out)) for _ in range(2))
    for index in range(0 if pair.whole else len(pair.source)):
        _pass(pair, pair.source, index, wanted)
    losses = [_loss(pair, kept, wanted, states) for kept in tried]
    best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
    return Verdict(losses[0], losses[best], tried[best])


def _pass(pair: Pair, blocks: Blocks, index: int, states: States) -> None:
    """The batches held out, through a block."""
    for at, batch in enumerate(pair.batches.held_out):
        before = states[at] if index else None
        states[at] = pair.passed(blocks, index, batch, before)


def _loss(pair: Pair, kept: Mapping[int, Solved], wanted: States, states: States) -> float:
    for stage in pair.stages:
        if stage.number in kept:
            _embed(pair, stage, kept[stage.number].read())
    for stage in pair.stages:
        found = kept.get(stage.number)
        with _with(pair, stage, found.read() if found else None):
            if pair.whole or stage.number == len(pair.student):
                return _divergence(pair, wanted, states)
            _pass(pair, pair.student, stage.number, states)
    raise AssertionError("the last stage is the head or the model")


def _divergence(pair: Pair, wanted: States, states: States) -> float:
    tokens = [pair.batches.tokens[batch] for batch in pair.batches.held_out]
    found = []
    head = Head(pair.source, pair.student, 1.0, pair.lanes)
    for own, source, student in zip(tokens, wanted, states, strict=True):
        if pair.whole:
            logits = pair.source.run(0, own, None), pair.student.run(0, own, None)
            found.append(divergence(*logits, 1.0).mean().item())
        else:
            found.append(head.mean(own, source, student))
    return float(np.average(found, weights=[len(own) for own in tokens]))


def _with(pair: Pair, stage: Stage, values: Values | None) -> AbstractContextManager[None]:
    if values is None:
        return nullcontext()
    paths = trainable_paths({path: pair.modules[path] for path in stage.paths})  # else fixed
    norms = any(name in values for name in stage.norms)
    layers = pair.layers(replace(stage, paths=tuple(paths)), norms, values)
    return layers.used(layers.start(), decoded=True)


def _embed(pair: Pair, stage: Stage, values: Values) -> None:
    """A head that is the embedding too turns tokens into states by its trained values."""
    for path in stage.paths:
        if isinstance(pair.modules[path], HeldEmbedding):
            layers = pair.layers(replace(stage, paths=(path,), norms=()), False, values)
            (weight,) = layers.weights(path).values()
            fix_weight(pair.modules[path], [Affine(weight.codes, weight.scales, weight.biases)])
