"""Our recipes for models on the Hub, and what each is to make of its model.

A layer is told by a part of its path after loading. What is not told gets the recipe's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.checkpoints.common import QKV, Checkpoint, write
from tests.checkpoints.decoders import smollm3
from tests.checkpoints.dense import blocks, llama, mistral, phi3, qwen2, qwen3
from tests.checkpoints.experts import phimoe, qwen3_moe
from tests.checkpoints.packed import gpt_oss
from tests.checkpoints.vision.gemma3 import gemma3
from tests.checkpoints.vision.phi3_v import phi3_v

__all__ = ["FAMILIES", "Family", "bits_of"]

Bits = Mapping[str, int | None]


@dataclass(frozen=True)
class Family:
    """``always`` holds at every width, ``mixed`` in the recipe that ends so (None: there is
    none). ``small`` makes a small checkpoint's folder, with the release's key names."""

    widths: tuple[int, ...]
    small: Callable[[Path], Path]
    mixed: Bits | None
    always: Bits = field(default_factory=dict)

    def recipes(self, name: str) -> dict[str, Bits]:
        """What each of the family's recipes is to make: bits by a part of the path, "" the rest."""
        found: dict[str, Bits] = {
            f"{name}-{width}bit": {"": width, **self.always} for width in self.widths
        }
        if self.mixed is not None:
            found[f"{name}-mixed"] = {**self.always, **self.mixed}
        return found


def _written(make: Callable[[], Checkpoint]) -> Callable[[Path], Path]:
    return lambda folder: write(make(), folder, shards=2)


def _untied_qwen2() -> Checkpoint:
    config, _ = qwen2()
    return config, blocks(biases=QKV)


def _tied_llama() -> Checkpoint:
    config, _ = llama()
    return config, blocks(tied=True)


def _tied_phi3() -> Checkpoint:
    config, weights = phi3()
    return config, {name: array for name, array in weights.items() if name != "lm_head.weight"}


MIXED = {"": 4, "self_attn.": 8}
EXPERTS = {"": 8, ".switch_mlp.": 3}

FAMILIES: dict[str, Family] = {
    "phi35-mini": Family((2, 4, 8), _written(phi3), MIXED),
    "phi35-moe": Family((2, 4, 8), _written(phimoe), EXPERTS, {".block_sparse_moe.gate": 8}),
    "phi4": Family((2, 4, 8), _written(phi3), MIXED),
    "phi4-mini": Family((4, 8), _written(_tied_phi3), MIXED | {"embed_tokens": 6}),
    "deepseek-r1-redistill-qwen-1.5b": Family((4, 8), _written(_untied_qwen2), MIXED),
    "qwen2.5-7b": Family((2, 4, 8), _written(_untied_qwen2), MIXED),
    "qwen3-8b": Family((4, 8), _written(qwen3), MIXED),
    "qwen3-30b-a3b": Family((2, 4, 8), _written(qwen3_moe), EXPERTS, {".mlp.gate": 8}),
    "llama-3.2-3b": Family((4, 8), _written(_tied_llama), MIXED),
    "mistral-7b": Family((2, 4, 8), _written(mistral), MIXED),
    "gpt-oss-20b": Family((4, 8), _written(gpt_oss), None, {".experts.": 4, ".mlp.router": 8}),
    "smollm3-3b": Family((4, 8), _written(smollm3), MIXED),
    "phi35-vision": Family((4, 8), phi3_v, MIXED, {"vision_embed_tokens": None}),
    "gemma-3-4b": Family((4, 8), gemma3, MIXED, {"vision_tower": None}),
}


def bits_of(path: str, wanted: Bits) -> int | None:
    """The bits of the layer at ``path``, None where it stays as it is: the first part that is in
    the path decides, or else ""."""
    return next((bits for part, bits in wanted.items() if part and part in path), wanted[""])
