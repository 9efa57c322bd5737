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
from mlxforge.models.scoring.leaves.layers import HeldEmbedding

__all__ = ["remembered"]

MOST_BYTES = 64 << 20  # of one embedding's states


@contextmanager
def remembered(model: nn.Module) -> Iterator[None]:
    """The embeddings of ``model``, for as long as it lasts; those of a weight that was exchanged
    meanwhile are read."""
    with ExitStack() as stack:
        for _, module in model.named_modules():
            if isinstance(module, HeldEmbedding):
                stack.enter_context(_remembering(module))
        yield


def _remembering(module: HeldEmbedding) -> AbstractContextManager[None]:
    kind = type(module)
    own = module._matrix
    known: dict[tuple[tuple[int, ...], bytes], mx.array] = {}
    left = MOST_BYTES

    def call(self: HeldEmbedding, x: mx.array) -> mx.array:
        nonlocal left
        if self._matrix is not own:
            return kind.__call__(self, x)
        tokens = np.array(x)
        key = (tokens.shape, tokens.tobytes())
        found = known.get(key)
        if found is None:
            found = kind.__call__(self, x)
            mx.eval(found)
            if found.nbytes <= left:
                left -= found.nbytes
                known[key] = found
        return found[...]  # some models change in place what they are given

    return called_as(module, call)
