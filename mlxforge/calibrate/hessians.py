"""Second moments of what comes into a layer, or into each of its experts, and how far it is from
what the source would give it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.finite import check_inputs
from mlxforge.models.writing.parallel import cores, in_order
from mlxforge.quantize.cpu import on_cpu

__all__ = ["Given", "Hessian", "Sums", "experts_at_once", "precision"]

WIDE = 4096  # columns: beyond them sums are float32
PANEL = 256  # columns whose products with those before them are one piece of work
MOST_BYTES = 1 << 30  # of the sums of all experts that are summed up together


Given = tuple[mx.array, mx.array | None]
"""What comes into a layer, [..., columns], and for experts which of them [...] each row goes to."""


@dataclass
class Hessian:
    """``matrix`` [columns, columns], float64 (float32 where it is wide): the mean of x x^T over
    the inputs x of a layer, or of one expert; ``tokens`` over how many. ``drift``: the mean of
    (s - x) x^T, where s is what the source gives the layer; None of experts, and where the source
    did not go along."""

    matrix: np.ndarray
    tokens: int
    drift: np.ndarray | None = None

    def spent(self) -> np.ndarray:
        """``matrix``, which is the caller's from then on: nothing else keeps it in memory."""
        matrix, self.matrix = self.matrix, np.zeros((0, 0))
        return matrix


def precision(columns: int) -> type[np.floating]:
    """Of the sums over so many columns, and of what is found from them."""
    return np.float64 if columns <= WIDE else np.float32


def experts_at_once(experts: int, columns: int) -> int:
    """Of how many experts the sums are held together."""
    return min(experts, max(1, MOST_BYTES // (np.dtype(precision(columns)).itemsize * columns**2)))


class Sums:
    """Sums of products of inputs, float32 for a wave and over waves as ``precision`` says: of a
    plain layer, or of the experts from ``first`` on, ``count`` of them. ``drifting``: of a plain
    layer, with those of the source beside them."""

    def __init__(
        self, columns: int, first: int = 0, count: int | None = None, drifting: bool = False
    ) -> None:
        shape = (count or 1, columns, columns)
        dtype = precision(columns)
        self._experts = None if count is None else range(first, first + count)
        self._total = np.zeros(shape, dtype)
        self._drift = np.zeros(shape[1:], dtype) if drifting else None
        self._tokens = np.zeros(shape[0], dtype=np.int64)

    def add(self, given: Given, meant: Given | None = None) -> None:
        """``meant`` is what the source gives a plain layer for the same tokens."""
        rows, owner = _routed(*given)
        if self._experts is not None and owner is not None:
            for expert in np.intersect1d(owner, self._experts):
                mine = mx.array(np.flatnonzero(owner == expert))
                self._add(int(expert) - self._experts.start, rows[mine])
            return
        self._add(0, rows)
        if self._drift is not None and meant is not None:
            self._add_drift(self._drift, _routed(*meant)[0] - rows, rows)

    def _add(self, place: int, rows: mx.array) -> None:
        total = self._total[place]
        self._tokens[place] += len(rows)
        if not on_cpu():
            total += np.asarray(rows.T @ rows)
        else:
            _by_panels(partial(_add_squares, total, np.asarray(rows)), len(total))

    def _add_drift(self, total: np.ndarray, drift: mx.array, rows: mx.array) -> None:
        if not on_cpu():
            total += np.asarray(drift.T @ rows)
        else:
            both = np.asarray(drift), np.asarray(rows)
            _by_panels(partial(_add_products, total, *both), len(total))

    def means(self, path: str) -> list[Hessian]:
        """Of each expert, or of the one layer; the sums are gone then. Raises ForgeError with the
        layer's ``path`` where they are not finite."""
        check_inputs(path, self._total)
        totals, drift = self._total, self._drift
        self._total, self._drift = np.zeros((0, 0, 0)), None
        for total, tokens in zip(totals, self._tokens, strict=True):
            total /= max(int(tokens), 1)
            for at in range(0, len(total), PANEL):  # what was left out is the same
                stop = at + PANEL
                total[at:stop, stop:] = total[stop:, at:stop].T
        if drift is not None:
            drift /= max(int(self._tokens[0]), 1)
        return [
            Hessian(total, int(tokens), drift)
            for total, tokens in zip(totals, self._tokens, strict=True)
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


def _by_panels(add: Callable[[int], None], size: int) -> None:
    """On all cores; each panel is some rows of the sums."""
    jobs = (partial(add, at) for at in range(0, size, PANEL))
    deque(in_order(jobs, cores()), maxlen=0)


def _add_squares(total: np.ndarray, x: np.ndarray, at: int) -> None:
    """Sums of products of some columns of ``x`` [rows, columns] with those up to them."""
    stop = min(at + PANEL, len(total))
    total[at:stop, :stop] += x[:, at:stop].T @ x[:, :stop]


def _add_products(total: np.ndarray, drift: np.ndarray, x: np.ndarray, at: int) -> None:
    total[at : at + PANEL] += drift[:, at : at + PANEL].T @ x
