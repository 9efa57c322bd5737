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

__all__ = ["Drift", "DriftSums", "Weigh"]

Weigh = Callable[[str], mx.array]
"""The weight of the layer at a path, float32 [rows, columns]."""

Floats = npt.NDArray[np.float32]


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
        self._matrix = np.zeros((columns, columns), dtype) if weights is None else None
        self._weights = weights or {}
        self._products = {
            path: np.zeros(weight.shape, np.float32) for path, weight in self._weights.items()
        }

    def add(self, meant: mx.array, given: mx.array) -> None:
        """Of some tokens, each float32 [tokens, columns]."""
        drift = meant - given
        mx.eval(drift)
        if self._matrix is not None:
            _add(self._matrix, drift, given)
        for path, weight in self._weights.items():
            _add(self._products[path], drift, given, weight)

    def mean(self, tokens: int) -> Drift:
        """The sums are gone then."""
        matrix, products = self._matrix, self._products
        self._matrix, self._products, self._weights = None, {}, {}
        for total in (*products.values(), *(() if matrix is None else (matrix,))):
            total /= max(tokens, 1)
        return Drift(None if matrix is None else matrix.astype(np.float32, copy=False), products)


def _add(
    total: np.ndarray, drift: mx.array, given: mx.array, weight: mx.array | None = None
) -> None:
    """drift^T given, or weight drift^T given."""
    if not on_cpu():
        left = drift.T if weight is None else weight @ drift.T
        total += np.asarray(left @ given)
        return
    own = None if weight is None else np.asarray(weight)
    by_panels(partial(_add_panel, total, np.asarray(drift), np.asarray(given), own), len(total))


def _add_panel(
    total: np.ndarray, drift: np.ndarray, given: np.ndarray, weight: np.ndarray | None, at: int
) -> None:
    part = slice(at, at + PANEL)
    left = drift[:, part].T if weight is None else weight[part] @ drift.T
    total[part] += left @ given
