"""Any rows of a parameter, computed from its expression and from no more than they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx

from mlxforge.models.streaming.boxes import Box, full, within
from mlxforge.models.streaming.expression import Computed, Constant, Expression, Stored, Whole
from mlxforge.models.streaming.files import StoredTensors
from mlxforge.models.streaming.operations import OPERATIONS, read_range

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """A parameter of a model that can be read in parts.

    ``shape`` and ``dtype`` (MLX's name) are those after mlx_lm's ``sanitize``. ``whole`` gives
    a parameter by name where only mlx_lm's loader can compute it.
    """

    name: str
    expression: Expression
    stored: StoredTensors = field(repr=False)
    whole: Callable[[str], mx.array] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.expression.shape

    @property
    def dtype(self) -> str:
        return self.expression.dtype

    @property
    def rows(self) -> int:
        """How many rows there are: all axes but the last, flattened; one for a vector."""
        return math.prod(self.shape[:-1])

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    def read(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop``, [stop - start, columns] in ``dtype``, on the current stream;
        what lies in files is read at once, what is computed from it is lazy.

        Safe to be called from several threads, each under a stream of its own. Raises ForgeError
        where a file cannot be read.
        """
        columns = self.columns
        found = read_range(self.expression, start * columns, stop * columns, self._read)
        return found.reshape(stop - start, columns)

    def read_all(self) -> mx.array:
        """The whole parameter, in its shape."""
        return self._read(self.expression, full(self.shape))

    def _read(self, expression: Expression, box: Box) -> mx.array:
        match expression:
            case Stored():
                return self.stored.read(expression.name, box, getattr(mx, expression.dtype))
            case Constant():
                values = mx.array(expression.values, dtype=getattr(mx, expression.dtype))
                return values.reshape(expression.shape)[within(full(expression.shape), box)]
            case Whole():
                return self.whole(expression.name)[within(full(expression.shape), box)]
            case Computed():
                return OPERATIONS[expression.operation](expression, box, self._read)
