"""Second moments of what comes into a layer, or into each of its experts, and how far it is from
what the source would give it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.models.writing.parallel import cores, in_order

__all__ = ["Given", "Hessian", "Sums", "experts_at_once"]

WIDE = 4096  # columns: beyond them sums are float32
PANEL = 256  # columns whose products with those before them are one piece of work
MOST_BYTES = 1 << 30  # of the sums of all experts that are summed up together


Given = tuple[mx.array, mx.array | None]
"""What comes into a layer, [..., columns], and for experts which of them [...] each row goes to."""


@dataclass(frozen=True)
class Hessian:
    """``matrix`` [columns, columns], float64 (float32 where it is wide): the mean of x x^T over
    the inputs x of a layer, or of one expert; ``tokens`` over how many. ``drift``: the mean of
    (s - x) x^T, where s is what the source gives the layer; None where that is not known."""

    matrix: np.ndarray
    tokens: int
    drift: np.ndarray | None = None


def experts_at_once(experts: int, columns: int, drifting: bool) -> int:
    """Of how many experts the sums are held together."""
    return min(experts, max(1, MOST_BYTES // (8 * columns * columns * (1 + drifting))))


class Sums:
    """Sums over waves of products of inputs, float32 for a wave and float64 over waves: of a plain
    layer, or of the experts from ``first`` on, ``count`` of them. ``drifting``: with those of the
    source beside them."""

    def __init__(
        self, columns: int, drifting: bool = False, first: int = 0, count: int | None = None
    ) -> None:
        shape = (count or 1, columns, columns)
        dtype = np.float64 if columns <= WIDE else np.float32
        self._experts = None if count is None else range(first, first + count)
        self._total = np.zeros(shape, dtype)
        self._drift = np.zeros(shape, dtype) if drifting else None
        self._tokens = np.zeros(shape[0], dtype=np.int64)

    def add(self, given: Given, meant: Given | None = None) -> None:
        """``meant`` is what the source gives the layer. Its experts need not be the same: only
        rows that go to the same one in both drift."""
        rows, owner = _routed(*given)
        other, others = (None, None) if meant is None else _routed(*meant)
        if self._experts is None or owner is None:
            self._add(0, rows, None if other is None else other - rows)
            return
        for expert in np.intersect1d(owner, self._experts):
            mine = mx.array(np.flatnonzero(owner == expert))
            drift = None
            if other is not None and others is not None:
                both = mx.array((others == expert)[np.array(mine)])
                drift = mx.where(both[:, None], other[mine] - rows[mine], 0)
            self._add(int(expert) - self._experts.start, rows[mine], drift)

    def _add(self, place: int, rows: mx.array, drift: mx.array | None) -> None:
        total, size = self._total[place], self._total.shape[-1]
        self._tokens[place] += len(rows)
        if mx.default_device() != mx.Device(mx.cpu):
            total += np.asarray(rows.T @ rows)
            if self._drift is not None and drift is not None:
                self._drift[place] += np.asarray(drift.T @ rows)
            return
        x = np.asarray(rows)
        jobs = [partial(_add_panel, total, x, at) for at in range(0, size, PANEL)]
        if self._drift is not None and drift is not None:
            d, all_of_it = np.asarray(drift), self._drift[place]
            jobs += [partial(_add_drift, all_of_it, d, x, at) for at in range(0, size, PANEL)]
        deque(in_order(jobs, cores()), maxlen=0)

    def means(self, path: str) -> list[Hessian]:
        """Of each expert, or of the one layer; the sums are gone then. Raises ForgeError with the
        layer's ``path`` where they are not finite."""
        if not np.isfinite(self._total.sum()):
            raise ForgeError(
                f"the inputs of {path} are not finite over the calibration text",
                "the source overflows: is its dtype float16, or a weight broken?",
            )
        for place, tokens in enumerate(self._tokens):
            total = self._total[place]
            total /= max(int(tokens), 1)
            if self._drift is not None:
                self._drift[place] /= max(int(tokens), 1)
            for at in range(0, len(total), PANEL):  # what was left out is the same
                stop = at + PANEL
                total[at:stop, stop:] = total[stop:, at:stop].T
        drifts = [None] * len(self._total) if self._drift is None else [*self._drift]
        return [
            Hessian(total, int(tokens), drift)
            for total, tokens, drift in zip(self._total, self._tokens, drifts, strict=True)
        ]


def _routed(x: mx.array, chosen: mx.array | None) -> tuple[mx.array, np.ndarray | None]:
    """Rows, float32 [n, columns], and to which expert each goes."""
    owner = None
    if chosen is not None:
        batch = np.broadcast_shapes(x.shape[:-2], chosen.shape)
        x = mx.broadcast_to(x, (*batch, *x.shape[-2:]))
        owner = np.broadcast_to(np.asarray(chosen), batch).reshape(-1)
    rows = x.reshape(-1, x.shape[-1]).astype(mx.float32)
    mx.eval(rows)
    return rows, owner


def _add_panel(total: np.ndarray, x: np.ndarray, at: int) -> None:
    """Sums of products of some columns of ``x`` [rows, columns] with those up to them."""
    stop = min(at + PANEL, len(total))
    total[at:stop, :stop] += x[:, at:stop].T @ x[:, :stop]


def _add_drift(total: np.ndarray, drift: np.ndarray, x: np.ndarray, at: int) -> None:
    total[at : at + PANEL] += drift[:, at : at + PANEL].T @ x
