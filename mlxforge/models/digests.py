"""The digest of every tensor of a model folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlxforge.models.source.files import read_tensors

__all__ = ["tensor_digests"]

PIECE_BYTES = 8 << 20


def tensor_digests(folder: Path) -> dict[str, str]:
    """The first 16 hex digits of the sha256 over each tensor's dtype, shape and bytes, by name."""
    found = {}
    for name, (path, info) in read_tensors(folder).items():
        digest = hashlib.sha256(f"{info.dtype} {list(info.shape)}\n".encode())
        with path.open("rb") as file:
            file.seek(info.start)
            left = info.end - info.start
            while left and (piece := file.read(min(left, PIECE_BYTES))):
                digest.update(piece)
                left -= len(piece)
        found[name] = digest.hexdigest()[:16]
    return found
