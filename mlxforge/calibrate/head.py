"""What comes into embeddings that are the head as well.

They are wanted before any other layer: whatever follows is then fitted to embeddings as they will
be. What comes into them as the head is known from the source, at the end of ``calibrate``.

    head.npy    the mean of x x^T over the inputs x of the head, float32 [columns, columns]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlxforge.calibrate.hessians import Hessian
from mlxforge.models.layers.table import Layer, LayerTable

__all__ = ["read_head", "shared_embeddings", "write_head"]

NAME = "head.npy"


def shared_embeddings(table: LayerTable) -> Layer | None:
    """The embeddings whose weight a head has too, be it one module or two."""
    heads = [layer for layer in table.layers if layer.role == "lm_head"]
    embeddings = {layer.path: layer for layer in table.layers if layer.role == "embeddings"}
    for head in heads:
        if head.tied in embeddings:
            return embeddings[head.tied]
    return None if heads or len(embeddings) != 1 else next(iter(embeddings.values()))


def write_head(hessian: Hessian, folder: Path) -> None:
    np.save(folder / NAME, hessian.matrix.astype(np.float32))


def read_head(folder: Path, table: LayerTable) -> tuple[str, np.ndarray] | None:
    """What ``write_head`` wrote, float64, behind the embeddings' path; None where no head has
    their weight."""
    shared = shared_embeddings(table)
    if shared is None or not shared.quantizable:
        return None
    return shared.path, np.load(folder / NAME).astype(np.float64)
