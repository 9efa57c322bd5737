"""Layers that multiply by weights which they do not hold.

They take the place of mlx_lm's own by class alone: every other attribute stays. The arithmetic is
float32 over parts of the weight's rows, whatever is stored. Where parts are not kept in memory,
inputs and outputs are evaluated at once, so that no part outlives its use.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import SwitchLinear

from mlxforge.errors import ForgeError
from mlxforge.models.scoring.leaves.held import Holder, used
from mlxforge.models.scoring.leaves.matrix import Matrix
from mlxforge.models.scoring.leaves.supply import Range, Supply

__all__ = ["HeldEmbedding", "HeldLinear", "HeldSwitchLinear"]


class HeldLinear(Holder, nn.Linear):  # type: ignore[misc]
    """y = x W^T + b, x [..., input_dims]."""

    _matrix: Matrix

    def __call__(self, x: mx.array) -> mx.array:
        y = _multiply(self, x)
        return y + self["bias"] if "bias" in self else y


class HeldEmbedding(Holder, nn.Embedding):  # type: ignore[misc]
    """The rows of the tokens [...], and the transposed product of a tied head."""

    _matrix: Matrix

    def __call__(self, x: mx.array) -> mx.array:
        tokens, places = np.unique(np.array(x), return_inverse=True)
        rows = self._matrix.rows
        for token in (*tokens[:1], *tokens[-1:]):
            if not -rows <= token < rows:
                raise ForgeError(
                    f"token {token} is not one of the {rows} rows of an embedding",
                    "is this the model's tokenizer?",
                )
        # negative ones count from the end, as in MLX: vision models mark an image's place so
        found = self._matrix.gather([int(token) % rows for token in tokens])
        return found[mx.array(places.reshape(x.shape))]

    def as_linear(self, x: mx.array) -> mx.array:
        return _multiply(self, x)


class HeldSwitchLinear(Holder, SwitchLinear):  # type: ignore[misc]
    """x [..., m, input_dims] by the weights of experts ``indices`` [...], with its biases.

    Rows are grouped by expert, and only the experts that were chosen are read.
    """

    _matrix: Matrix

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        used(self)
        batch = np.broadcast_shapes(x.shape[:-2], indices.shape)
        m, columns = x.shape[-2:]
        mx.eval(x, indices)
        chosen = np.broadcast_to(np.array(indices), batch).reshape(-1)
        order = np.argsort(chosen, kind="stable")
        rows = mx.broadcast_to(x, (*batch, m, columns)).reshape(-1, m, columns)
        rows = rows[mx.array(order)].reshape(-1, columns).astype(mx.float32)
        experts, counts = np.unique(chosen, return_counts=True)
        y = self._grouped(rows, experts, counts * m)
        y = y.reshape(-1, m, y.shape[-1])[mx.array(np.argsort(order))]
        y = y.reshape(*batch, m, y.shape[-1])
        if "bias" in self:
            y = y + mx.expand_dims(self["bias"][indices], -2)
        return y

    def _grouped(self, rows: mx.array, experts: np.ndarray, counts: np.ndarray) -> mx.array:
        """Rows [n, input_dims], ``counts`` of them in turn for each of ``experts``."""
        supply, outputs = self._held.supply, self._matrix.shape[-2]
        first = [int(expert) * outputs for expert in experts]
        cut = [supply.cut(self._matrix, start, start + outputs) for start in first]
        parts = supply.parts(self._matrix, [part for ranges in cut for part in ranges])
        found, position = [], 0
        for count, ranges in zip(map(int, counts), cut, strict=True):
            mine = rows[position : position + count]
            found.append(_join([_evaluated(mine @ next(parts).T) for _ in ranges]))
            position += count
        return _evaluated(mx.concatenate(found))


def _multiply(module: HeldLinear | HeldEmbedding, x: mx.array) -> mx.array:
    used(module)
    matrix, supply = module._matrix, module._held.supply
    if module._held.stand_ins is not None:
        return module._held.stand_ins["product"].reshape(*x.shape[:-1], matrix.rows)
    start, stop = module._held.window or (0, matrix.rows)
    ranges = supply.cut(matrix, start, stop)
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(mx.float32)
    return _product(flat, matrix, supply, ranges).reshape(*x.shape[:-1], stop - start)


def _product(x: mx.array, matrix: Matrix, supply: Supply, ranges: list[Range]) -> mx.array:
    if supply.keeps(matrix, ranges):  # what stays in memory anyway may wait in a graph
        return _join([x @ part.T for part in supply.parts(matrix, ranges)])
    mx.eval(x)
    return _join([_evaluated(x @ part.T) for part in supply.parts(matrix, ranges)])


def _join(pieces: list[mx.array]) -> mx.array:
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces, axis=-1)


def _evaluated(value: mx.array) -> mx.array:
    mx.eval(value)
    return value
