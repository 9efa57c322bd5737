"""Embeddings that remember what they have made of some tokens, for who runs these again and again.

A row of an embedding is a read from a file, and a block that is run for itself has the model's
embeddings run before it each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.exchanged import called_as
from mlxforge.models.scoring.leaves.kept import Held, Keep, Kept
from mlxforge.models.scoring.leaves.layers import HeldEmbedding

__all__ = ["remembered"]

MOST_BYTES = 64 << 20  # of one embedding's states, in memory


@contextmanager
def remembered(model: nn.Module, keep: Keep[mx.array] | None = None) -> Iterator[None]:
    """The embeddings of ``model``, for as long as it lasts; those of a weight that was exchanged
    meanwhile are read. Without ``keep`` they are in memory."""
    with ExitStack() as stack:
        for _, module in model.named_modules():
            if isinstance(module, HeldEmbedding):
                stack.enter_context(_remembering(module, keep or _Memory().keep))
        yield


def _remembering(module: HeldEmbedding, keep: Keep[mx.array]) -> AbstractContextManager[None]:
    kind = type(module)
    own = module._matrix
    known: dict[tuple[tuple[int, ...], bytes], Kept[mx.array]] = {}

    def call(self: HeldEmbedding, x: mx.array) -> mx.array:
        if self._matrix is not own:
            return kind.__call__(self, x)
        tokens = np.array(x)
        key = (tokens.shape, tokens.tobytes())
        if key in known:
            return known[key].read()[...]  # some models change in place what they are given
        found = kind.__call__(self, x)
        if kept := keep(found):
            known[key] = kept
        return found[...]

    return called_as(module, call)


class _Memory:
    """Of one embedding."""

    def __init__(self) -> None:
        self._left = MOST_BYTES

    def keep(self, array: mx.array) -> Kept[mx.array] | None:
        if array.nbytes > self._left:
            return None
        self._left -= array.nbytes
        mx.eval(array)
        return Held(array)
