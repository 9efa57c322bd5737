"""Where variants of a model are compared with it: what comes after the last block, and the
divergence of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.states import joinable, part, state_bytes
from mlxforge.models.threads import Lanes
from mlxforge.models.writing.parallel import in_order, workers

__all__ = ["Ends", "divergence"]

LOGIT_BYTES = 64 << 20  # of the logits of some tokens
TILE = 1 << 19  # numbers of either's that are compared at a time
TOLERANCE = 1e-4  # of the standard deviation of the logits
MOST = 60.0  # nats between two logits, of which e is no infinity yet

Ending = tuple[Any, Callable[[], AbstractContextManager[Any]]]
"""What a variant's last block hands on, and the variant's own weights for what comes after."""


class Ends:
    """``last`` is what the last block of the source hands on for ``tokens`` [windows, length].

    The logits are the largest arrays of all: where some tokens' do not depend on the others, there
    are never more of them than ``LOGIT_BYTES``; else those of a window.
    """

    def __init__(self, blocks: Blocks, tokens: mx.array, last: Any, lanes: Lanes) -> None:
        self._blocks, self._tokens, self._last, self._lanes = blocks, tokens, last, lanes
        self._index = 0 if blocks.whole else len(blocks)
        self.bytes = state_bytes(last)
        self._apart = blocks.whole or joinable(last, *tokens.shape)
        length = int(tokens.shape[1])
        self._rows = length
        if self._apart and not blocks.whole:
            first = self._logits(last, (0, 0, 1))
            rows = max(1, LOGIT_BYTES // (4 * int(first.shape[-1])))
            if rows < length and self._alike(rows):
                self._rows = rows

    def divergences(self, variants: Sequence[Ending]) -> list[float]:
        """The mean over all tokens of KL(source || variant), in nats, of each."""
        sums = np.zeros(len(variants))
        for piece in self._pieces():
            source = self._logits(self._last, piece)
            jobs = (partial(self._variant, ending, piece) for ending in variants)
            for place, found in enumerate(self._lanes.each(jobs)):
                sums[place] += divergence(source, found).sum(dtype=np.float64)
        return [float(nats) / self._tokens.size for nats in sums]

    def _pieces(self) -> Iterator[tuple[int, int, int] | None]:
        """Windows with a range of their tokens; None for all of them."""
        windows, length = self._tokens.shape
        if not self._apart:
            yield None
            return
        for window in range(windows):
            for start in range(0, length, self._rows):
                yield window, start, min(start + self._rows, length)

    def _variant(self, ending: Ending, piece: tuple[int, int, int] | None) -> mx.array:
        state, quantized = ending
        with quantized():
            return self._answers(state, piece)

    def _logits(self, state: Any, piece: tuple[int, int, int] | None) -> mx.array:
        """Float32 [tokens, vocabulary], evaluated."""
        found = self._answers(state, piece)
        mx.eval(found)
        return found

    def _answers(self, state: Any, piece: tuple[int, int, int] | None) -> mx.array:
        tokens = self._tokens
        if piece is not None:
            window, start, stop = piece
            tokens, state = tokens[window : window + 1, start:stop], part(state, *piece)
        found = self._blocks.run(self._index, tokens, state).astype(mx.float32)
        logits: mx.array = found.reshape(-1, found.shape[-1])
        return logits

    def _alike(self, rows: int) -> bool:
        """Whether some tokens' logits are what they are among those of the whole window."""
        length = int(self._tokens.shape[1])
        whole, last = (self._logits(self._last, (0, start, length)) for start in (0, length - rows))
        near = TOLERANCE * mx.sqrt(mx.var(last))
        return bool((mx.abs(whole[length - rows :] - last) <= near).all())


def divergence(source: mx.array, variant: mx.array) -> np.ndarray:
    """KL(source || variant) per token in nats, float64 [tokens], of logits float32 [tokens,
    vocabulary], evaluated.

    With d the difference of the logits less its mean under the source's p, it is
    log(1 + sum p (e^d - 1 - d)): a sum of small positive numbers, whereas the difference of two
    logarithms would lose them in float32's rounding. A few tokens at a time, which stay in the
    cache, by every core.
    """
    step = max(1, TILE // source.shape[-1])
    jobs = [
        partial(_divergence, source, variant, slice(start, start + step))
        for start in range(0, len(source), step)
    ]
    return np.concatenate(list(in_order(jobs, workers())))


def _divergence(source: mx.array, variant: mx.array, tokens: slice) -> np.ndarray:
    source, variant = source[tokens], variant[tokens]
    p = mx.softmax(source, axis=-1)
    d = mx.where(p > 0, variant - source, 0)
    d = mx.minimum(d - (p * d).sum(axis=-1, keepdims=True), MOST)
    found = mx.log1p((p * (mx.expm1(d) - d)).sum(axis=-1))
    return np.asarray(found).astype(np.float64)
