"""Second moments of what comes into a layer, or into each of its experts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.models.writing.parallel import cores, in_order

__all__ = ["Hessian", "Sums", "experts_at_once"]

WIDE = 4096  # columns: beyond them sums are float32
PANEL = 256  # columns whose products with those before them are one piece of work
MOST_BYTES = 1 << 30  # of the sums of all experts that are summed up together


@dataclass(frozen=True)
class Hessian:
    """``matrix`` [columns, columns], float64 (float32 where it is wide): the mean of x x^T over
    the inputs x of a layer, or of one expert; ``tokens`` over how many."""

    matrix: np.ndarray
    tokens: int


def experts_at_once(experts: int, columns: int) -> int:
    """Of how many experts the sums are held together."""
    return min(experts, max(1, MOST_BYTES // (8 * columns * columns)))


class Sums:
    """Sums of x x^T, float32 on the device for a wave, float64 over waves: of a plain layer, or of
    the experts from ``first`` on, ``count`` of them."""

    def __init__(self, columns: int, first: int = 0, count: int | None = None) -> None:
        shape = (count or 1, columns, columns)
        self._experts = None if count is None else range(first, first + count)
        self._total = np.zeros(shape, dtype=np.float64 if columns <= WIDE else np.float32)
        self._tokens = np.zeros(shape[0], dtype=np.int64)

    def add(self, x: mx.array, chosen: mx.array | None) -> None:
        """``x`` [..., columns], and for experts which of them [...] each row goes to."""
        columns = x.shape[-1]
        if self._experts is None or chosen is None:
            self._add(0, x.reshape(-1, columns))
            return
        batch = np.broadcast_shapes(x.shape[:-2], chosen.shape)
        rows = mx.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, columns)
        owner = np.broadcast_to(np.asarray(chosen), batch).reshape(-1)
        for expert in np.intersect1d(owner, self._experts):
            mine = rows[mx.array(np.flatnonzero(owner == expert))]
            self._add(int(expert) - self._experts.start, mine)

    def _add(self, place: int, rows: mx.array) -> None:
        rows = rows.astype(mx.float32)
        total = self._total[place]
        if mx.default_device() == mx.Device(mx.cpu):
            x = np.asarray(rows)
            jobs = (partial(_add_panel, total, x, at) for at in range(0, len(total), PANEL))
            deque(in_order(jobs, cores()), maxlen=0)
        else:
            total += np.asarray(rows.T @ rows)
        self._tokens[place] += len(rows)

    def means(self, path: str) -> list[Hessian]:
        """Of each expert, or of the one layer; the sums are gone then. Raises ForgeError with the
        layer's ``path`` where they are not finite."""
        if not np.isfinite(self._total.sum()):
            raise ForgeError(
                f"the inputs of {path} are not finite over the calibration text",
                "the source overflows: is its dtype float16, or a weight broken?",
            )
        for total, tokens in zip(self._total, self._tokens, strict=True):
            total /= max(int(tokens), 1)
            for at in range(0, len(total), PANEL):  # what was left out is the same
                stop = at + PANEL
                total[at:stop, stop:] = total[stop:, at:stop].T
        return [
            Hessian(total, int(tokens))
            for total, tokens in zip(self._total, self._tokens, strict=True)
        ]


def _add_panel(total: np.ndarray, x: np.ndarray, at: int) -> None:
    """Sums of products of some columns of ``x`` [rows, columns] with those up to them."""
    stop = min(at + PANEL, len(total))
    total[at:stop, :stop] += x[:, at:stop].T @ x[:, :stop]
