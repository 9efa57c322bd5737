"""Scales that a method has moved between layers: what a weight was multiplied by before it was
rounded, so that it can still be compared with the source's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

__all__ = ["UNMOVED", "Moved"]


@dataclass(frozen=True)
class Moved:
    """Factors of a layer's ``rows`` and ``columns``, float32 [n], or [experts, n]; None: 1."""

    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Moved:
        return cls(arrays.get("rows"), arrays.get("columns"))

    def arrays(self) -> dict[str, np.ndarray]:
        """Those that there are, by their names; ``of`` makes this of them again."""
        named = {"rows": self.rows, "columns": self.columns}
        return {name: value for name, value in named.items() if value is not None}

    def weight(self, weight: mx.array, expert: int) -> mx.array:
        """What became of ``weight`` [rows, columns], the source's."""
        if self.rows is not None:
            weight = weight * mx.array(_own(self.rows, expert))[:, None]
        if self.columns is not None:
            weight = weight * mx.array(_own(self.columns, expert))
        return weight

    def importance(self, importance: mx.array | None, expert: int) -> mx.array | None:
        """Mean squares of what comes into it now; ``importance`` [columns] is of the source."""
        if self.columns is None:
            return importance
        squares = mx.square(mx.array(_own(self.columns, expert)))
        return (1 if importance is None else importance) / squares


UNMOVED = Moved()


def _own(factors: np.ndarray, expert: int) -> np.ndarray:
    found: np.ndarray = factors[expert] if factors.ndim == 2 else factors
    return found
