"""Whether two model folders hold the same tensors, bit for bit, in whatever shards and order."""

from __future__ import annotations

import os
from pathlib import Path

from mlxforge.errors import ForgeError
from mlxforge.models.source.files import weight_files
from mlxforge.models.source.headers import TensorInfo, read_header

__all__ = ["check_same", "weight_bytes"]

PIECE = 8 << 20  # bytes compared at a time


def check_same(ours: Path, theirs: Path) -> None:
    """ForgeError that names the first tensor whose name, dtype, shape or bytes differ."""
    mine, other = _tensors(ours), _tensors(theirs)
    for name in sorted(mine.keys() ^ other.keys()):
        raise ForgeError(f"the outputs differ: only {'ours' if name in mine else 'theirs'} {name}")
    for name in sorted(mine):
        (path, info), (their_path, their_info) = mine[name], other[name]
        if (info.dtype, info.shape) != (their_info.dtype, their_info.shape):
            raise ForgeError(
                f"the outputs differ: {name} is {info.dtype} {list(info.shape)}, "
                f"theirs {their_info.dtype} {list(their_info.shape)}"
            )
        if not _same_bytes(path, info, their_path, their_info):
            raise ForgeError(f"the outputs differ: {name} has other bytes")


def weight_bytes(folder: Path) -> int:
    """Bytes of the tensors in a model folder."""
    return sum(info.end - info.start for _, info in _tensors(folder).values())


def _tensors(folder: Path) -> dict[str, tuple[Path, TensorInfo]]:
    return {
        name: (path, info)
        for path in weight_files(folder)
        for name, info in read_header(path).items()
    }


def _same_bytes(path: Path, info: TensorInfo, other: Path, other_info: TensorInfo) -> bool:
    with path.open("rb") as left, other.open("rb") as right:
        for offset in range(0, info.end - info.start, PIECE):
            count = min(PIECE, info.end - info.start - offset)
            mine = os.pread(left.fileno(), count, info.start + offset)
            if mine != os.pread(right.fileno(), count, other_info.start + offset):
                return False
    return True
