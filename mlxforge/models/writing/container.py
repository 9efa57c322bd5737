"""Writing a model's weights: safetensors in one fixed byte layout, from beginning to end.

The layout is known before the first number: tensors in the order in which they are announced,
shards cut at 5 GB in that order, headers first. So every byte is written once, in its place, and
goes through its file's sha256 on the way: no file is read again to learn its digest. (MLX's own
writer lays a file out in hash-map order, so equal tensors may give unequal files.)
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mlxforge.errors import ForgeError
from mlxforge.models.layers.table import DTYPE_BYTES

__all__ = ["SHARD_BYTES", "ShardWriter", "TensorPlan", "write_index"]

SHARD_BYTES = 5 << 30  # mlx_lm's limit; a single tensor that is larger gets a shard of its own

CODES = {
    "bool_": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "float16": "F16", "bfloat16": "BF16", "uint32": "U32", "int32": "I32",
    "float32": "F32", "uint64": "U64", "int64": "I64", "complex64": "C64",
}  # fmt: skip


@dataclass(frozen=True)
class TensorPlan:
    """A tensor that will be written; ``dtype`` by MLX's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


class ShardWriter:
    """Takes the bytes of ``tensors`` in their order and writes ``model*.safetensors`` into ``out``.

    To be used in a ``with``. Raises ForgeError at once where the disk has too little room.
    """

    def __init__(self, tensors: Sequence[TensorPlan], out: Path) -> None:
        self._out = out
        self._shards = _shards(tensors)
        self.total = sum(tensor.bytes for tensor in tensors)
        self.digests: dict[str, str] = {}
        self.written = 0
        self._number = 0
        self._left = 0
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        _check_room(out, self.total)

    def __enter__(self) -> ShardWriter:
        self._next_shard()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            if kind is None and self.written != self.total:
                raise RuntimeError(f"{self.total - self.written} bytes of weights were not written")
            self._finish_shard()

    def write(self, data: memoryview) -> None:
        """The next bytes; they may not reach over the end of a tensor."""
        if self._left == 0:
            self._finish_shard()
            self._next_shard()
        self._put(data)
        self._left -= len(data)
        self.written += len(data)

    def where(self) -> dict[str, str]:
        """Every tensor's file."""
        return {
            tensor.name: self._name(number)
            for number, shard in enumerate(self._shards, start=1)
            for tensor in shard
        }

    def _name(self, number: int) -> str:
        count = len(self._shards)
        return (
            "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
        )

    def _next_shard(self) -> None:
        shard = self._shards[self._number]
        self._number += 1
        self._left = sum(tensor.bytes for tensor in shard)
        self._hash = hashlib.sha256()
        self._file = (self._out / self._name(self._number)).open("wb", buffering=0)
        self._put(memoryview(_header(shard)))

    def _put(self, data: memoryview) -> None:
        assert self._file is not None
        self._hash.update(data)
        while data:
            data = data[self._file.write(data) :]

    def _finish_shard(self) -> None:
        if self._file is not None:
            self._file.close()
            self.digests[self._name(self._number)] = self._hash.hexdigest()
            self._file = None


def write_index(where: Mapping[str, str], total: int, parameters: int, out: Path) -> None:
    """``model.safetensors.index.json`` as mlx_lm writes it."""
    index = {
        "metadata": {"total_size": total, "total_parameters": parameters},
        "weight_map": dict(sorted(where.items())),
    }
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=4))


def _shards(tensors: Sequence[TensorPlan]) -> list[list[TensorPlan]]:
    shards: list[list[TensorPlan]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.bytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.bytes
    return shards


def _header(tensors: Sequence[TensorPlan]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ForgeError(
            f"the disk is full: {out} has {free / 1e9:.2f} GB left, the weights need "
            f"{needed / 1e9:.2f} GB",
            "free space (`doit gc` shows what can go) and build again",
        )
