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
"""What is multiplied by the x to be added: (s - x)^T, or W (s - x)^T by path."""

ALL = ""  # in the place of a path: one matrix for all layers


@dataclass(frozen=True)
class Drift:
    """D, the mean of (s - x) x^T over the inputs x of some layers and s, what the source gives
    them: ``matrix``, float32 [columns, columns]; or by the path of each layer its ``products``
    W D with the layer's weight, float32 [rows, columns]."""

    matrix: Floats | None = None
    products: Mapping[str, Floats] = field(default_factory=dict)

    def times(self, path: str, rows: mx.array, piece: slice) -> Floats:
        """The ``piece`` of W D that is of these ``rows`` of the weight; the caller's to change."""
        if self.matrix is None:
            return self.products[path][piece].copy()
        found: Floats = np.asarray(rows) @ self.matrix
        return found


class DriftSums:
    """Sums of (s - x) x^T, in ``dtype``; or, where there are ``weights``, of their products with
    those, float32 [rows, columns] by path."""

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

    def look(self, drift: mx.array) -> Lefts:
        """What ``add`` wants of s - x, float32 [tokens, columns]. Any thread may ask."""
        if self._weights is None:
            return {ALL: drift.T if not on_cpu() else np.asarray(drift).T}
        return {path: _products(weight, drift) for path, weight in self._weights.items()}

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


def _products(weight: mx.array, drift: mx.array) -> mx.array | Floats:
    """Of a weight [rows, columns] with every drift: float32 [rows, tokens]."""
    if not on_cpu():
        return weight.astype(mx.float32) @ drift.T
    turned = np.asarray(drift).T
    found = np.empty((len(weight), len(drift)), np.float32)
    for at in range(0, len(weight), PANEL):
        part = slice(at, at + PANEL)
        np.matmul(np.asarray(weight[part].astype(mx.float32)), turned, out=found[part])
    return found


def _add_panel(total: np.ndarray, left: np.ndarray, given: np.ndarray, at: int) -> None:
    part = slice(at, at + PANEL)
    total[part] += left[part] @ given
