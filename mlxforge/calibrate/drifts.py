"""How far what comes into a plain layer is from what the source would give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.calibrate.panels import PANEL, by_panels
from mlxforge.quantize.cpu import on_cpu

__all__ = ["Drift", "DriftSums", "Lefts", "Weigh"]

Weigh = Callable[[str], mx.array]
"""The weight of the layer at a path, [rows, columns]."""

Floats = npt.NDArray[np.float32]

Lefts = Mapping[str, mx.array | Floats]
"""What is multiplied by the x to be added: (s - x)^T, or (W (s - x) + r_s - r)^T by path."""

ALL = ""  # in the place of a path: one matrix for all layers


@dataclass(frozen=True)
class Drift:
    """Of some layers with inputs x, s in the source: ``matrix``, the mean of (s - x) x^T, float32
    [columns, columns]; or by the path of each layer, whose weight is W and whose output is added to
    r, r_s in the source, ``products``: the mean of (W (s - x) + r_s - r) x^T, float32 [rows,
    columns]. Where nothing is known of r it counts as r_s."""

    matrix: Floats | None = None
    products: Mapping[str, Floats] = field(default_factory=dict)

    def times(self, path: str, rows: mx.array, piece: slice) -> Floats:
        """The ``piece`` of the products that is of these ``rows`` of the weight; the caller's to
        change."""
        if self.matrix is None:
            return self.products[path][piece].copy()
        found: Floats = np.asarray(rows) @ self.matrix
        return found


class DriftSums:
    """Sums of (s - x) x^T, in ``dtype``; or, where there are ``weights``, of what the products of a
    Drift are the means of, float32 [rows, columns] by path."""

    def __init__(
        self,
        columns: int,
        dtype: type[np.floating],
        weights: Mapping[str, mx.array] | None = None,
    ) -> None:
        self._weights = weights
        self._sums: dict[str, npt.NDArray[np.floating]] = (
            {ALL: np.zeros((columns, columns), dtype)}
            if weights is None
            else {path: np.zeros(weight.shape, np.float32) for path, weight in weights.items()}
        )

    def look(self, drift: mx.array, residual: mx.array | None = None) -> Lefts:
        """What ``add`` wants of s - x, float32 [tokens, columns], and of r_s - r, float32
        [tokens, rows], which wants weights. Any thread may ask."""
        if self._weights is None:
            return {ALL: drift.T if not on_cpu() else np.asarray(drift).T}
        return {path: _products(each, drift, residual) for path, each in self._weights.items()}

    def add(self, lefts: Lefts, given: mx.array) -> None:
        """``given``: the x, float32 [tokens, columns]."""
        for path, left in lefts.items():
            total = self._sums[path]
            if isinstance(left, mx.array):
                total += np.asarray(left @ given)
            else:
                by_panels(partial(_add_panel, total, left, np.asarray(given)), len(total))

    def mean(self, tokens: int) -> Drift:
        """The sums are gone then."""
        sums, self._sums, self._weights = self._sums, {}, {}
        for total in sums.values():
            total /= max(tokens, 1)
        matrix = sums.pop(ALL, None)
        if matrix is None:
            return Drift(products=sums)
        return Drift(matrix.astype(np.float32, copy=False))


def _products(weight: mx.array, drift: mx.array, residual: mx.array | None) -> mx.array | Floats:
    """Of a weight [rows, columns] with every drift, and the residual's: float32 [rows, tokens]."""
    if not on_cpu():
        product = weight.astype(mx.float32) @ drift.T
        return product if residual is None else product + residual.T
    turned = np.asarray(drift).T
    found = np.empty((len(weight), len(drift)), np.float32)
    for at in range(0, len(weight), PANEL):
        part = slice(at, at + PANEL)
        np.matmul(np.asarray(weight[part].astype(mx.float32)), turned, out=found[part])
    if residual is not None:
        found += np.asarray(residual).T
    return found


def _add_panel(total: np.ndarray, left: np.ndarray, given: np.ndarray, at: int) -> None:
    part = slice(at, at + PANEL)
    total[part] += left[part] @ given
