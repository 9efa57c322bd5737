"""How much each column of a weight matters, as far as a text has told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from mlxforge.recipe.methods import FEWEST_TOKENS

__all__ = ["Importance"]


@dataclass(frozen=True)
class Importance:
    """``columns`` float32 [columns], or [experts, columns] for stacked experts: the mean squares
    of the inputs that meet them; ``tokens`` int64 [] or [experts]: over how many."""

    columns: np.ndarray
    tokens: np.ndarray

    def of(self, expert: int) -> mx.array | None:
        """Float32 [columns]; None where too few tokens came by."""
        if self.columns.ndim == 1:
            return mx.array(self.columns) if self.tokens >= FEWEST_TOKENS else None
        enough = self.tokens[expert] >= FEWEST_TOKENS
        return mx.array(self.columns[expert]) if enough else None

    def likely(self, expert: int) -> mx.array | None:
        """As ``of``; of an expert that too few tokens came by what came into all of them."""
        known = self.of(expert)
        if known is not None or self.columns.ndim == 1 or self.tokens.sum() < FEWEST_TOKENS:
            return known
        return mx.array(self._all)

    @cached_property
    def _all(self) -> np.ndarray:
        """Float32 [columns]: over the tokens of all experts."""
        shares = self.tokens / self.tokens.sum()
        together: np.ndarray = (shares[:, None] * self.columns).sum(axis=0)
        return together.astype(np.float32)

    def unknown(self) -> list[int]:
        """The experts that saw too few tokens."""
        few = self.tokens < FEWEST_TOKENS
        return [int(number) for number in np.flatnonzero(few)] if few.ndim else []
