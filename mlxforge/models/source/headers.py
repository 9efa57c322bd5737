"""Reading the headers of safetensors files, and refusing files that lie.

The container (https://github.com/huggingface/safetensors#format): 8 bytes little-endian header
length, a JSON header ``{name: {dtype, shape, data_offsets}}``, then the tensors' bytes without
gaps. Nothing here loads a weight.

A *folder of heads* is what is known of a source before its weights are downloaded: every shard is
cut after its header, and ``mlxforge-heads.json`` beside them says how many bytes each has whole.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError

__all__ = ["DTYPE_BITS", "SIZES", "TensorInfo", "read_header", "shard_size"]

SIZES = "mlxforge-heads.json"

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
    "F4": 4,
}  # fmt: skip
LONGEST_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: ``start`` and ``end`` are byte offsets from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def shard_size(path: Path) -> int:
    """Bytes of a safetensors file, be it here or only its head."""
    try:
        sizes = json.loads((path.parent / SIZES).read_bytes())
    except FileNotFoundError:
        return path.stat().st_size
    return int(sizes[path.name])


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file. Raises ForgeError where the file cannot be whole."""
    size = shard_size(path)
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, LONGEST_HEADER):
            raise _broken(path, f"its header claims {length} bytes, the file has {size}")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise _broken(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _broken(path, "its header is not a map of tensors")
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _tensor(path, name, entry, 8 + length)
    _check_layout(path, tensors, 8 + length, size)
    return tensors


def _tensor(path: Path, name: str, entry: Any, base: int) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    except (TypeError, KeyError, ValueError):
        whole, dtype, shape, start, end = False, None, (), 0, 0
    if not whole:
        raise _broken(path, f"the entry of tensor {name!r} is malformed")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _broken(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    expected = (math.prod(shape) * DTYPE_BITS[dtype] + 7) // 8
    if end - start != expected:
        raise _broken(
            path,
            f"tensor {name!r} of {dtype} {list(shape)} needs {expected} bytes and "
            f"its header gives it {end - start}",
        )
    return TensorInfo(dtype, tuple(shape), base + start, base + end)


def _check_layout(path: Path, tensors: dict[str, TensorInfo], base: int, size: int) -> None:
    position = base
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            raise _broken(path, f"tensor {name!r} does not start where the one before it ends")
        position = tensor.end
    if position > size:
        raise _broken(path, f"it is cut off: the header describes {position} bytes, it has {size}")
    if position < size:
        raise _broken(path, f"{size - position} bytes at its end belong to no tensor")


def _broken(path: Path, why: str) -> ForgeError:
    return ForgeError(f"{path} is not a whole safetensors file: {why}", "get the file again")
