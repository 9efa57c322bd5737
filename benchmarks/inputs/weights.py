"""Random bfloat16 weights in sharded safetensors, streamed to disk: memory holds one piece.

The container is written by hand (https://github.com/huggingface/safetensors#format), because
numpy has no bfloat16: its bits are the upper half of a float32's.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["Tensor", "total_bytes", "write_model"]

PIECE = 4 << 20  # values drawn at a time
DEVIATION = 0.02  # what most models are initialized with
ONE = 0x3F80  # 1.0 in bfloat16
TOKENIZER = Path(__file__).parents[2] / "recipes" / "demo" / "model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True)
class Tensor:
    """Normally distributed; the weight of a norm is all ones."""

    name: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return 2 * math.prod(self.shape)


def total_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.bytes for tensor in tensors)


def write_model(
    folder: Path, config: Mapping[str, Any], tensors: Sequence[Tensor], shards: int, seed: int
) -> None:
    """Write a folder in Hugging Face layout that mlx_lm loads, with the demo model's tokenizer."""
    random = np.random.default_rng(seed)
    where: dict[str, str] = {}
    for number, part in enumerate(_parts(tensors, shards), start=1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        with (folder / name).open("wb") as file:
            file.write(_header(part))
            for tensor in part:
                _write(file, tensor, random)
                where[tensor.name] = name
    index = {"metadata": {"total_size": total_bytes(tensors)}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZER / name, folder / name)


def _parts(tensors: Sequence[Tensor], shards: int) -> Iterator[list[Tensor]]:
    """The tensors in their order, in ``shards`` parts of about equal size."""
    parts: list[list[Tensor]] = [[] for _ in range(shards)]
    total, before = total_bytes(tensors), 0
    for tensor in tensors:
        parts[min(before * shards // total, shards - 1)].append(tensor)
        before += tensor.bytes
    yield from parts


def _header(tensors: Sequence[Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + tensor.bytes
        header[tensor.name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(file: BinaryIO, tensor: Tensor, random: np.random.Generator) -> None:
    left = math.prod(tensor.shape)
    if "norm" in tensor.name:
        file.write(np.full(left, ONE, dtype="<u2").tobytes())
        return
    while left:
        values = random.standard_normal(min(left, PIECE), dtype=np.float32)
        values *= DEVIATION
        # the upper half of each float32, rounded towards zero
        file.write((values.view("<u4") >> 16).astype("<u2").data)
        left -= values.size
