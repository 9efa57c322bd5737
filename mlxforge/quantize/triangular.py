"""Products with the inverse of a matrix that is known by its factors.

H = (I + F) D (I + F)^T, F above the diagonal and D on it, is what GPTQ's feedback is taken from. So
nothing else need be factorised, or stored, to divide by H; and as rows are divided each for itself,
a few at a time, that needs no more memory than they have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Inverse"]

PANEL = 128  # columns that are found together

Floats = npt.NDArray[np.float32]


class Inverse:
    """``upper``: F, float32 [n, n]; ``pivots``: the diagonal of D, float32 [n]."""

    def __init__(self, upper: Floats, pivots: Floats) -> None:
        self._upper, self._pivots = upper, pivots
        self._panels = [
            slice(at, min(at + PANEL, len(upper))) for at in range(0, len(upper), PANEL)
        ]
        self._corners = [_inverse(upper[panel, panel]) for panel in self._panels]

    def divide(self, rows: Floats) -> None:
        """``rows`` [rows, n] become rows H^-1, in their place."""
        upper = self._upper
        for panel, corner in zip(self._panels[::-1], self._corners[::-1], strict=True):
            mine = rows[:, panel]
            mine -= rows[:, panel.stop :] @ upper[panel, panel.stop :].T
            mine[:] = mine @ corner.T
        rows /= self._pivots
        for panel, corner in zip(self._panels, self._corners, strict=True):
            mine = rows[:, panel]
            mine -= rows[:, : panel.start] @ upper[: panel.start, panel]
            mine[:] = mine @ corner


def _inverse(upper: Floats) -> Floats:
    """Of I + ``upper``."""
    found: Floats = np.linalg.inv(np.eye(len(upper)) + upper).astype(np.float32)
    return found
