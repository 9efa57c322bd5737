"""Writing a model folder: safetensors in one fixed byte layout, config.json, side files.

Tensors are laid out by name, shards are cut at 5 GB in that order, and each tensor is computed,
written and let go before the next: memory holds one tensor, not one shard. (MLX's own writer
lays a file out in hash-map order, so equal tensors may give unequal files.)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.models.source import side_files

__all__ = ["copy_side_files", "save_config", "save_weights"]

SHARD_BYTES = 5 << 30  # mlx_lm's limit

CODES = {
    mx.bool_: "BOOL", mx.uint8: "U8", mx.int8: "I8", mx.uint16: "U16", mx.int16: "I16",
    mx.float16: "F16", mx.bfloat16: "BF16", mx.uint32: "U32", mx.int32: "I32",
    mx.float32: "F32", mx.uint64: "U64", mx.int64: "I64", mx.complex64: "C64",
}  # fmt: skip


def save_weights(
    tensors: dict[str, mx.array],
    parameters: int,
    out: Path,
    progress: Callable[[int, int, str], None],
) -> None:
    """Write ``tensors`` as ``model*.safetensors`` and their index; empties the dict on the way.

    ``parameters`` is the model's parameter count, for the index. The largest piece of memory
    is one tensor, provided that nobody else holds the arrays.
    """
    total = sum(tensor.nbytes for tensor in tensors.values())
    shards = _shards(tensors)
    where: dict[str, str] = {}
    written = 0
    for number, names in enumerate(shards, start=1):
        shard = (
            "model.safetensors"
            if len(shards) == 1
            else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        with (out / shard).open("wb") as file:
            file.write(_header({name: tensors[name] for name in names}))
            for name in names:
                array = tensors.pop(name)
                file.write(_bytes(array))
                where[name] = shard
                written += array.nbytes
                del array
                progress(written, total, "bytes")
    index = {
        "metadata": {"total_size": total, "total_parameters": parameters},
        "weight_map": dict(sorted(where.items())),
    }
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=4))


def _shards(tensors: dict[str, mx.array]) -> list[list[str]]:
    shards: list[list[str]] = []
    size = 0
    for name in sorted(tensors):
        if not shards or size + tensors[name].nbytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensors[name].nbytes
    return shards


def _header(tensors: dict[str, mx.array]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(array: mx.array) -> memoryview:
    flat = mx.contiguous(array).reshape(-1)
    if array.dtype == mx.bfloat16:  # numpy has no bfloat16
        flat = flat.view(mx.uint16)
    return np.array(flat, copy=False).data.cast("B")


def save_config(
    config: dict[str, Any], quantization: dict[str, Any] | None, model: Any, out: Path
) -> None:
    """Write config.json as mlx_lm.convert does; ``quantization`` None for an unquantized model."""
    from mlx_lm.utils import save_config as upstream

    written = dict(config)
    if quantization is not None:
        written |= {"quantization": quantization, "quantization_config": quantization}
    upstream(
        written,
        out / "config.json",
        keep_vision_config="vision_tower" in getattr(model, "model", {}),
    )


def copy_side_files(source: Path, out: Path) -> None:
    """Tokenizer, templates, generation config and licence, byte for byte."""
    for path in side_files(source):
        shutil.copyfile(path, out / path.name)
