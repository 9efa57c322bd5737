"""Which of the trained values make the whole model better: judged from its tokens to its logits.

Blocks were judged one by one, and a tied embedding by its use as a head. Here the windows held out
go through all of the model, once with nothing trained, once with its blocks, once with its head as
well; whichever is nearest to the source is kept. So the result is never worse than the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.distill.divergence import Head, divergence
from mlxforge.calibrate.distill.pair import Pair, Stage
from mlxforge.calibrate.distill.solve import Solved
from mlxforge.calibrate.distill.student import Values, trainable_paths
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


def judge(pair: Pair, solved: Mapping[int, Solved]) -> Verdict:
    """Of all stages that were trained. ``pair`` is of no use afterwards."""
    last = 0 if pair.whole else len(pair.student)
    blocks = {number: found for number, found in solved.items() if number < last}
    nothing: Mapping[int, Solved] = {}
    tried = [nothing] + [kept for kept in (blocks, solved) if kept]
    if len(tried) == 3 and len(blocks) == len(solved):
        del tried[2]
    wanted = [_after_blocks(pair.source, pair, batch) for batch in pair.batches.held_out]
    losses = [_loss(pair, kept, wanted) for kept in tried]
    best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
    return Verdict(losses[0], losses[best], tried[best])


def _after_blocks(blocks: Blocks, pair: Pair, batch: int) -> Any:
    """The last states of a batch; None where there are no blocks to be run one by one."""
    state = None
    for index in range(0 if pair.whole else len(blocks)):
        state = pair.passed(blocks, index, batch, state)
    return state


def _loss(pair: Pair, kept: Mapping[int, Solved], wanted: Sequence[Any]) -> float:
    tokens = [pair.batches.tokens[batch] for batch in pair.batches.held_out]
    states: list[Any] = [None] * len(tokens)
    for stage in pair.stages:
        if stage.number in kept:
            _embed(pair, stage, kept[stage.number].read())
    for stage in pair.stages:
        found = kept.get(stage.number)
        with _with(pair, stage, found.read() if found else None):
            if pair.whole or stage.number == len(pair.student):
                return _divergence(pair, tokens, wanted, states)
            for at, batch in enumerate(pair.batches.held_out):
                states[at] = pair.passed(pair.student, stage.number, batch, states[at])
    raise AssertionError("the last stage is the head or the model")


def _divergence(
    pair: Pair, tokens: Sequence[mx.array], wanted: Sequence[Any], states: Sequence[Any]
) -> float:
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
            (weight,) = layers.weights(path)
            fix_weight(pair.modules[path], [Affine(weight.codes, weight.scales, weight.biases)])
