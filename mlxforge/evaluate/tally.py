"""Softmax figures over a vocabulary that is seen a piece at a time.

With source logits a and model logits b, and p = softmax(a), in nats:

    loss  = lse(b) - b[target]
    KL    = sum p (a - b) - lse(a) + lse(b)

Each is a sum over the vocabulary weighted by exp(logit - maximum). The maximum of what has been
seen goes along, and sums are scaled down when it rises (Milakov and Gimelshein, "Online
normalizer calculation for softmax", 2018). Within a piece numbers are float32, across pieces
float64. A logit of -inf, as models mask what they never say, has the weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np

__all__ = ["Tally"]

BLOCK_BYTES = 1 << 20  # of logits that one thread handles at a time


class _Sum:
    """sum exp(logit) * value for a running maximum; [tokens] float64 each."""

    def __init__(self, tokens: int) -> None:
        self.maximum = np.full(tokens, -np.inf)
        self.total = np.zeros(tokens)
        self.weighted = np.zeros(tokens)
        self.best = np.zeros(tokens, dtype=np.int64)

    def add(
        self, rows: slice, logits: np.ndarray, start: int, difference: np.ndarray | None = None
    ) -> None:
        place = logits.argmax(axis=1)
        highest = np.take_along_axis(logits, place[:, None], axis=1)
        weights = np.exp(logits - _base(highest))
        peak = highest[:, 0].astype(np.float64)
        before = self.maximum[rows]
        now = np.maximum(before, peak)
        old, new = np.exp(before - _base(now)), np.exp(peak - _base(now))
        self.best[rows] = np.where(peak > before, start + place, self.best[rows])
        self.total[rows] = self.total[rows] * old + weights.sum(axis=1) * new
        if difference is not None:
            found = np.einsum("tv,tv->t", weights, difference)
            if not np.isfinite(found).all():  # tokens of no weight contribute nothing
                found = np.einsum("tv,tv->t", weights, np.where(weights == 0, 0, difference))
            self.weighted[rows] = self.weighted[rows] * old + found * new
        self.maximum[rows] = now

    @property
    def log(self) -> np.ndarray:
        return self.maximum + np.log(self.total)


def _base(maximum: np.ndarray) -> np.ndarray:
    """What exponents are counted from: the maximum, or 0 where all logits are masked by -inf."""
    return np.where(maximum == -np.inf, maximum.dtype.type(0), maximum)


class Tally:
    """The figures of some tokens; ``targets`` int32 [tokens] are the tokens that follow them."""

    def __init__(self, targets: np.ndarray) -> None:
        self._targets = targets
        self._picked = np.full(len(targets), np.nan)
        self._model = _Sum(len(targets))
        self._source = _Sum(len(targets))

    def add(
        self,
        tokens: slice,
        start: int,
        model: np.ndarray,
        source: np.ndarray | None = None,
        pool: Executor | None = None,
    ) -> None:
        """Logits float32 [tokens, n] of the entries ``start`` to ``start + n`` of the vocabulary;
        pieces come in rising order. ``pool`` runs blocks of tokens side by side."""

        def block(rows: slice) -> None:
            here = slice(tokens.start + rows.start, tokens.start + rows.stop)
            mine = model[rows]
            self._model.add(here, mine, start)
            if source is not None:
                with np.errstate(invalid="ignore"):  # masked by both
                    difference = source[rows] - mine
                self._source.add(here, source[rows], start, difference)
            place = self._targets[here] - start
            inside = np.flatnonzero((place >= 0) & (place < mine.shape[1]))
            self._picked[here.start + inside] = mine[inside, place[inside]]

        for _ in (pool.map if pool else map)(block, _blocks(*model.shape)):
            pass

    @property
    def losses(self) -> np.ndarray:
        """Negative log-likelihood of the targets under the model, in nats, float32."""
        return np.asarray(self._model.log - self._picked, dtype=np.float32)

    @property
    def divergence(self) -> np.ndarray:
        """KL(source || model) in nats, float32."""
        mean = self._source.weighted / self._source.total
        found = mean - self._source.log + self._model.log
        return np.asarray(np.maximum(found, 0), dtype=np.float32)

    @property
    def agrees(self) -> np.ndarray:
        """Whether both rank the same token first; of equals it is the lowest."""
        return np.asarray(self._model.best == self._source.best)


def _blocks(tokens: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // (4 * width))
    return (slice(start, min(start + step, tokens)) for start in range(0, tokens, step))
