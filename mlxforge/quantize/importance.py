"""How much each column of a weight matters, as far as a text has told."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxforge.recipe.methods import FEWEST_TOKENS

__all__ = ["Importance"]


@dataclass(frozen=True)
class Importance:
    """``columns`` float32 [columns], or [experts, columns] for stacked experts: the mean squares
    of the inputs that meet them; ``tokens`` int64 [] or [experts]: over how many. ``means``: their
    means, where these say what inputs have in common."""

    columns: np.ndarray
    tokens: np.ndarray
    means: np.ndarray | None = None

    def of(self, expert: int) -> mx.array | None:
        """Float32 [columns]; None where too few tokens came by."""
        return self._of(self.columns, expert)

    def means_of(self, expert: int) -> mx.array | None:
        """The means that go with ``of``; None where they are not known."""
        return None if self.means is None else self._of(self.means, expert)

    def _of(self, values: np.ndarray, expert: int) -> mx.array | None:
        if values.ndim == 1:
            return mx.array(values) if self.tokens >= FEWEST_TOKENS else None
        return mx.array(values[expert]) if self.tokens[expert] >= FEWEST_TOKENS else None

    def likely(self, expert: int) -> mx.array | None:
        """As ``of``; of an expert that too few tokens came by what came into all of them."""
        return self._likely(self.columns, expert)

    def likely_means(self, expert: int) -> mx.array | None:
        """The means that go with ``likely``; None where they are not known."""
        return None if self.means is None else self._likely(self.means, expert)

    def _likely(self, values: np.ndarray, expert: int) -> mx.array | None:
        if self.tokens.sum() < FEWEST_TOKENS:
            return None
        if values.ndim == 1:
            return mx.array(values)
        if self.tokens[expert] >= FEWEST_TOKENS:
            return mx.array(values[expert])
        shares = self.tokens / self.tokens.sum()
        together: np.ndarray = (shares[:, None] * values).sum(axis=0)
        return mx.array(together.astype(np.float32))

    def unknown(self) -> list[int]:
        """The experts that saw too few tokens."""
        few = self.tokens < FEWEST_TOKENS
        return [int(number) for number in np.flatnonzero(few)] if few.ndim else []
