"""Second moments of what comes into a layer, or into each of its experts, and how far it is from
what the source would give it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.drifts import Drift, DriftSums, Lefts, Weigh
from mlxforge.calibrate.finite import check_inputs
from mlxforge.calibrate.observe import Given
from mlxforge.calibrate.panels import PANEL, by_panels
from mlxforge.quantize.cpu import on_cpu
from mlxforge.quantize.shared import shared

__all__ = [
    "Hessian",
    "Sums",
    "drift_bytes",
    "drift_sums",
    "experts_at_once",
    "factors",
    "hessian_bytes",
    "precision",
]

WIDE = 4096  # columns: beyond them sums are float32
FAR = 4
MOST_BYTES = 1 << 30  # of the sums of all experts that are summed up together


@dataclass
class Hessian:
    """``matrix`` [columns, columns], float64 (float32 where it is wide): the mean of x x^T over
    the inputs x of a layer, or of one expert; ``tokens`` over how many. ``drift``: None of experts,
    and where the source did not go along. ``room``: the array whose memory a wide matrix is."""

    matrix: np.ndarray
    tokens: int
    drift: Drift | None = None
    room: mx.array | None = None

    def spent(self) -> tuple[np.ndarray, mx.array | None]:
        """``matrix`` and ``room``, the caller's from then on: nothing else keeps them in memory."""
        found = self.matrix, self.room
        self.matrix, self.room = np.zeros((0, 0)), None
        return found


def precision(columns: int) -> type[np.floating]:
    """Of the sums over so many columns, and of what is found from them."""
    return np.float64 if columns <= WIDE else np.float32


def experts_at_once(experts: int, columns: int) -> int:
    """Of how many experts the sums are held together."""
    return min(experts, max(1, MOST_BYTES // hessian_bytes(columns)))


def hessian_bytes(columns: int) -> int:
    """Of sums over so many columns."""
    return int(np.dtype(precision(columns)).itemsize) * columns**2


def factors(columns: int) -> int:
    """How many of these a factor takes beside the sums: what it is found in, and the two that stay,
    which are float32. Where the sums are that too, one of the two is where they were."""
    return 1 if precision(columns) is np.float32 else 2


def drift_sums(
    columns: int,
    rows: Mapping[str, int],
    wanted: Collection[str],
    weigh: Weigh,
    residual: bool = False,
) -> DriftSums:
    """For those ``wanted`` of plain layers that have so many ``rows``, by path; or for one whose
    ``residual`` is given too."""
    if residual or _as_products(columns, sum(rows.values())):
        return DriftSums(columns, precision(columns), {path: weigh(path) for path in wanted})
    return DriftSums(columns, precision(columns))


def drift_bytes(columns: int, rows: int, residual: bool = False) -> int:
    """Of ``drift_sums`` for layers that have so many ``rows`` in all."""
    if residual or _as_products(columns, rows):
        return 4 * columns * rows
    return hessian_bytes(columns)


def _as_products(columns: int, rows: int) -> bool:
    """Wide layers have sums of whichever takes less."""
    return columns > WIDE and rows < columns


@dataclass(frozen=True)
class Seen:
    """Of a wave the ``rows`` that a layer was given, float32 [n, columns], to which expert each
    goes (``owner``), and what its drift is summed from."""

    rows: mx.array
    owner: np.ndarray | None
    lefts: Lefts = field(default_factory=dict)


class Sums:
    """Sums of products of inputs, float32 for a wave and over waves as ``precision`` says: of a
    plain layer, or of the experts from ``first`` on, ``count`` of them. ``drifts``: of a plain
    layer, for what the source gives it, float32 where they are products with its weights."""

    def __init__(
        self,
        columns: int,
        first: int = 0,
        count: int | None = None,
        drifts: DriftSums | None = None,
    ) -> None:
        self._experts = None if count is None else range(first, first + count)
        self._totals = [_zeros(columns) for _ in range(count or 1)]
        self._drifts = drifts
        self._tokens = [0] * (count or 1)

    def look(self, given: Given, meant: Given | None = None) -> Seen:
        """What ``add`` wants of a wave; ``meant`` is what the source gives a plain layer for the
        same tokens. Any thread may ask."""
        rows, owner = _routed(given)
        if self._drifts is None or meant is None:
            return Seen(rows, owner)
        drift = _routed(meant)[0] - rows
        mx.eval(drift)
        return Seen(rows, owner, self._drifts.look(drift, _between(given, meant)))

    def add(self, seen: Seen) -> None:
        rows, owner = seen.rows, seen.owner
        if self._experts is not None and owner is not None:
            for expert in np.intersect1d(owner, self._experts):
                mine = mx.array(np.flatnonzero(owner == expert))
                self._add(int(expert) - self._experts.start, rows[mine])
            return
        self._add(0, rows)
        if self._drifts is not None:
            self._drifts.add(seen.lefts, rows)

    def _add(self, place: int, rows: mx.array) -> None:
        total, _ = self._totals[place]
        self._tokens[place] += len(rows)
        if not on_cpu():
            total += np.asarray(rows.T @ rows)
        else:
            by_panels(partial(_add_squares, total, np.asarray(rows)), len(total))

    def means(self, path: str) -> list[Hessian]:
        """Of each expert, or of the one layer; the sums are gone then. Raises ForgeError with the
        layer's ``path`` where they are not finite."""
        totals, drifts = self._totals, self._drifts
        self._totals, self._drifts = [], None
        found = []
        for (total, room), tokens in zip(totals, self._tokens, strict=True):
            check_inputs(path, total)
            total /= max(tokens, 1)
            for at in range(0, len(total), PANEL):  # what was left out is the same
                stop = at + PANEL
                total[at:stop, stop:] = total[stop:, at:stop].T
            found.append(Hessian(total, tokens, drifts.mean(tokens) if drifts else None, room))
        return found


def _zeros(columns: int) -> tuple[np.ndarray, mx.array | None]:
    """Sums, and the array whose memory they are where they are float32."""
    if precision(columns) is np.float64:
        return np.zeros((columns, columns)), None
    room, total = shared(columns, columns)
    return total, room


def _routed(given: Given) -> tuple[mx.array, np.ndarray | None]:
    """Rows, float32 [n, columns], and to which expert each goes."""
    x, chosen, _ = given
    owner = None
    if chosen is not None:
        batch = np.broadcast_shapes(x.shape[:-2], chosen.shape)
        x = mx.broadcast_to(x, (*batch, *x.shape[-2:]))
        owner = np.broadcast_to(np.asarray(chosen), batch).reshape(-1)
    rows = x.reshape(-1, x.shape[-1]).astype(mx.float32)
    mx.eval(rows)
    return rows, owner


def _between(given: Given, meant: Given) -> mx.array | None:
    """How far the residual of one is from the other's, float32 [n, rows of the layer]; no token
    farther than ``FAR`` times the one in the middle. The stream of a few is a thousand times as
    long as that of others (Sun et al. 2024, arXiv 2402.17762): what it is off by would outweigh
    all of theirs, and is nothing behind the next norm."""
    if given.residual is None or meant.residual is None:
        return None
    found = (meant.residual - given.residual).astype(mx.float32)
    found = found.reshape(-1, found.shape[-1])
    far = mx.linalg.norm(found, axis=-1, keepdims=True)
    most = FAR * mx.sort(far, axis=0)[len(far) // 2]
    found = found * mx.where(far > most, most / far, 1)
    mx.eval(found)
    return found


def _add_squares(total: np.ndarray, x: np.ndarray, at: int) -> None:
    """Sums of products of some columns of ``x`` [rows, columns] with those up to them."""
    stop = min(at + PANEL, len(total))
    total[at:stop, :stop] += x[:, at:stop].T @ x[:, :stop]
