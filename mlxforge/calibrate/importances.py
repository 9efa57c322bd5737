"""What a calibration has told of each layer's inputs, as files: a step writes what others read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlxforge.models.layers.table import LayerTable
from mlxforge.quantize.importance import Importance

__all__ = ["AS_INPUT", "read_importances", "write_importances"]

TINY = 1e-30
AS_INPUT = 0.2  # between 0.1 and 0.3 a small trained model's divergence is least


def write_importances(found: Mapping[str, Importance], folder: Path) -> None:
    """``inputs.npy``, float32 [2, n]: all mean squares one after the other, and all means; and
    ``inputs.json``, where each layer's begin."""
    ordered = sorted(found.items())
    where, start = {}, 0
    for path, entry in ordered:
        shape = list(entry.columns.shape)
        where[path] = {"start": start, "shape": shape, "tokens": entry.tokens.tolist()}
        start += entry.columns.size
    both = np.zeros((2, start), np.float32)
    for path, entry in ordered:
        assert entry.means is not None  # of what was measured
        mine = slice(where[path]["start"], where[path]["start"] + entry.columns.size)
        both[:, mine] = entry.columns.reshape(-1), entry.means.reshape(-1)
    np.save(folder / "inputs.npy", both)
    (folder / "inputs.json").write_text(json.dumps(where, indent=1, sort_keys=True) + "\n")


def _as_both_uses(means: np.ndarray) -> np.ndarray:
    """Mean squares of what comes into a tied embedding as the head, with those of its use as what
    turns tokens into states, where all columns matter alike: the first with a mean of 1, the second
    with ``AS_INPUT``."""
    both: np.ndarray = AS_INPUT + means / max(float(means.mean(dtype=np.float64)), TINY)
    return both


def read_importances(folder: Path, table: LayerTable) -> dict[str, Importance]:
    """What ``write_importances`` wrote, by path.

    Embeddings that are the head as well are used in two ways (see ``_as_both_uses``).
    """
    both = np.load(folder / "inputs.npy", mmap_mode="r")
    roles = {layer.path: layer.role for layer in table.layers}
    tied = {layer.path: layer.tied for layer in table.layers if layer.tied}
    found: dict[str, Importance] = {}
    for path, entry in json.loads((folder / "inputs.json").read_bytes()).items():
        size = int(np.prod(entry["shape"]))
        mine = both[:, entry["start"] : entry["start"] + size]  # read where it is looked at
        squares, means = mine.reshape(2, *entry["shape"])
        tokens = np.array(entry["tokens"], dtype=np.int64)
        importance = Importance(squares, tokens, means)
        if roles[path] == "embeddings" or path in tied:
            importance = Importance(_as_both_uses(squares), tokens)
        found |= dict.fromkeys(filter(None, (path, tied.get(path))), importance)
    return found
