"""Layers that multiply by weights which somebody is training, and let gradients through.

For as long as it lasts, a layer's class is exchanged for one that asks for its weight at each use.
All else of the architecture's own code runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.exchanged import exchanged
from mlxforge.models.scoring.leaves.held import Holder
from mlxforge.models.scoring.leaves.layers import HeldEmbedding, HeldSwitchLinear

__all__ = ["Weigh", "multiplied_by"]

Weigh = Callable[[int | None, slice], mx.array]
"""An expert, or None, and some rows of its weight: float32 [rows, columns]."""


@contextmanager
def multiplied_by(layers: Iterable[tuple[nn.Module, Weigh]]) -> Iterator[None]:
    """Each of ``layers`` multiplies by what its function gives.

    They are layers with a matrix (see mlxforge.models.scoring.leaves.fixed). Of embeddings that is
    their use as a head: they turn tokens into states by what they hold.
    """
    with ExitStack() as stack:
        for module, weigh in layers:
            stack.enter_context(exchanged(module, _methods(type(module), weigh)))
        yield


def _methods(kind: type[nn.Module], weigh: Weigh) -> Mapping[str, Callable[..., Any]]:
    def multiply(self: Holder, x: mx.array) -> mx.array:
        rows = slice(*self._held.window) if self._held.window else slice(None)
        found: mx.array = x.astype(mx.float32) @ weigh(None, rows).T
        return found

    def linear(self: Holder, x: mx.array) -> mx.array:
        y = multiply(self, x)
        return y + self["bias"] if "bias" in self else y

    def experts(self: Holder, x: mx.array, indices: mx.array, *_: Any, **__: Any) -> mx.array:
        y = _grouped(x, indices, weigh)
        return y + mx.expand_dims(self["bias"][indices], -2) if "bias" in self else y

    if issubclass(kind, HeldEmbedding):
        return {"as_linear": multiply}
    return {"__call__": experts if issubclass(kind, HeldSwitchLinear) else linear}


def _grouped(x: mx.array, indices: mx.array, weigh: Weigh) -> mx.array:
    """x [..., m, columns] by the weights of experts ``indices`` [...]: [..., m, rows].

    Rows are brought in the order of their experts by a permutation, whose gradient is one too.
    """
    batch = np.broadcast_shapes(x.shape[:-2], indices.shape)
    m, columns = x.shape[-2:]
    chosen = np.broadcast_to(np.array(indices), batch).reshape(-1)
    order = np.argsort(chosen, kind="stable")
    rows = mx.broadcast_to(x, (*batch, m, columns)).reshape(-1, m, columns)
    rows = rows[mx.array(order)].reshape(-1, columns).astype(mx.float32)
    experts, counts = np.unique(chosen, return_counts=True)
    found, position = [], 0
    for expert, count in zip(map(int, experts), map(int, counts * m), strict=True):
        found.append(rows[position : position + count] @ weigh(expert, slice(None)).T)
        position += count
    y = mx.concatenate(found)
    y = y.reshape(-1, m, y.shape[-1])[mx.array(np.argsort(order))]
    return y.reshape(*batch, m, y.shape[-1])
