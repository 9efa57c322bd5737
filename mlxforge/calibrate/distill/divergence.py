"""How far a model's distribution is from the source's, and its gradient, some tokens at a time.

The loss of a token is T^2 KL(source || model) between the two distributions at temperature T
(Hinton et al. 2015, arXiv 1503.02531), in nats. Logits are the largest arrays of a model by far;
they are computed from the states before the head, a piece at a time, each with its own gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import mlx.core as mx

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.distill.descent import Parameters
from mlxforge.calibrate.distill.flows import flowing, with_flowing
from mlxforge.calibrate.distill.student import Layers
from mlxforge.models.threads import Lanes

__all__ = ["Head", "divergence"]

LOGIT_BYTES = 64 << 20  # of one piece


def divergence(source: mx.array, model: mx.array, temperature: float) -> mx.array:
    """The loss of each token [...], from logits [..., vocabulary]; lazy, differentiable."""
    wanted, found = _log_softmax(source / temperature), _log_softmax(model / temperature)
    loss: mx.array = (mx.exp(wanted) * (wanted - found)).sum(axis=-1)
    return temperature**2 * loss


def _log_softmax(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    found: mx.array = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return found


class Head:
    """What lies behind the last blocks of a ``source`` and a ``student``, given their states."""

    def __init__(self, source: Blocks, student: Blocks, temperature: float, lanes: Lanes) -> None:
        self._source, self._student, self._lanes = source, student, lanes
        self._temperature = temperature
        self._vocabulary = 0

    def mean(self, tokens: mx.array, wanted: Any, states: Any) -> float:
        """The mean loss over ``tokens`` [windows, length], whose last states are ``wanted`` of the
        source and ``states`` of the student."""
        jobs = (partial(self._sum, *piece) for piece in self._pieces(tokens, wanted, states))
        return sum(map(float, self._lanes.each(jobs))) / tokens.size

    def gradient(
        self, tokens: mx.array, wanted: Any, states: Any, layers: Layers, parameters: Parameters
    ) -> tuple[Parameters, list[mx.array]]:
        """Of the mean loss, by ``parameters`` of the ``layers`` of the head, and by what flows in
        ``states``."""
        size = tokens.size

        def loss(
            parameters: Parameters, arrays: list[mx.array], tokens: mx.array, pair: tuple[Any, Any]
        ) -> mx.array:
            wanted, states = pair
            with layers.used(parameters):
                return self._loss(tokens, wanted, with_flowing(states, arrays)).sum() / size

        slope = mx.grad(loss, argnums=(0, 1))
        total: Parameters = {}
        back: list[list[mx.array]] = []
        jobs = (
            partial(slope, parameters, flowing(piece[2]), piece[0], piece[1:])
            for piece in self._pieces(tokens, wanted, states)
        )
        for own, more in self._lanes.each(jobs):
            total = {name: total[name] + own[name] if total else own[name] for name in own}
            back.append(more)
            mx.eval(total)
        return total, _together(back, tokens.shape[1])

    def _sum(self, tokens: mx.array, wanted: Any, states: Any) -> mx.array:
        return self._loss(tokens, wanted, states).sum()

    def _loss(self, tokens: mx.array, wanted: Any, states: Any) -> mx.array:
        source = self._source.run(len(self._source), tokens, wanted)
        student = self._student.run(len(self._student), tokens, states)
        return divergence(mx.stop_gradient(source), student, self._temperature)

    def _pieces(
        self, tokens: mx.array, wanted: Any, states: Any
    ) -> Iterator[tuple[mx.array, Any, Any]]:
        """Some positions of one window each, where states are arrays that can be cut so."""
        if not isinstance(states, mx.array):
            yield tokens, wanted, states
            return
        step = self._positions(tokens, wanted)
        for window in range(len(tokens)):
            for at in range(0, tokens.shape[1], step):
                part = slice(window, window + 1), slice(at, at + step)
                yield tokens[part], wanted[part], states[part]

    def _positions(self, tokens: mx.array, wanted: mx.array) -> int:
        if not self._vocabulary:
            logits = self._source.run(len(self._source), tokens[:1, :1], wanted[:1, :1])
            self._vocabulary = logits.shape[-1]
        return max(1, LOGIT_BYTES // (4 * self._vocabulary))


def _together(pieces: list[list[mx.array]], length: int) -> list[mx.array]:
    """Pieces of windows of that ``length`` as whole batches again."""
    if len(pieces) == 1:
        return pieces[0]
    windows, row = [], []
    for (piece,) in pieces:
        row.append(piece)
        if sum(part.shape[1] for part in row) == length:
            windows.append(mx.concatenate(row, axis=1))
            row = []
    return [mx.concatenate(windows)]
