"""Parts that many architectures share: tensors from a table of names and sizes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, LAYERS, PROJECTIONS, VOCABULARY, Weights, mlp, random

__all__ = ["config", "experts", "float32", "matrices", "scales", "tied_ends"]


def config(model_type: str, architecture: str, **more: Any) -> dict[str, Any]:
    """The fields that every config has; the others are the architecture's own."""
    common = {
        "architectures": [architecture], "model_type": model_type, "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": 4096,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return common | more


def matrices(prefix: str, **shapes: tuple[int, ...]) -> Weights:
    """The weight of each layer that is named, of the shape that is given."""
    return {f"{prefix}{name}.weight": random(*shape) for name, shape in shapes.items()}


def scales(prefix: str, **sizes: int) -> Weights:
    """The weight of each norm that is named, around one."""
    return {f"{prefix}{name}.weight": 1 + random(size) for name, size in sizes.items()}


def experts(prefix: str, count: int, inner: int) -> Weights:
    """Each expert's three projections in tensors of their own."""
    found: Weights = {}
    for expert in range(count):
        found |= mlp(f"{prefix}experts.{expert}.", PROJECTIONS, inner)
    return found


def tied_ends(inside: str = "model.", norm: str = "norm") -> Weights:
    """Embeddings that are the head as well, and the last norm."""
    return {
        f"{inside}embed_tokens.weight": random(VOCABULARY, HIDDEN),
        f"{inside}{norm}.weight": 1 + random(HIDDEN),
    }


def float32(*shape: int) -> mx.array:
    """What some architectures store in full, whatever the rest has."""
    return mx.random.normal(shape) * 0.05
