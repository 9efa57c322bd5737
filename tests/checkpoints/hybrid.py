"""Hybrids, and decoders that differ from llama in more than sizes: all of them by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.checkpoints.common import Checkpoint
from tests.checkpoints.decoders import cohere2, exaone4, gemma2, olmo2, olmo3, smollm3
from tests.checkpoints.delta import qwen3_5, qwen3_5_moe, qwen3_next
from tests.checkpoints.gemma4 import gemma4, gemma4_text
from tests.checkpoints.mixers import (
    falcon_h1,
    granitemoehybrid,
    granitemoehybrid_dense,
    jamba,
    lfm2,
    nemotron_h,
)
from tests.checkpoints.sparse import deepseek_v2, glm4_moe

__all__ = ["HYBRID"]

HYBRID: dict[str, Callable[[], Checkpoint]] = {
    "gemma2": gemma2, "gemma4": gemma4, "gemma4_text": gemma4_text, "olmo2": olmo2,
    "olmo3": olmo3, "cohere2": cohere2, "smollm3": smollm3, "exaone4": exaone4,
    "deepseek_v2": deepseek_v2, "glm4_moe": glm4_moe, "qwen3_next": qwen3_next,
    "qwen3_5": qwen3_5, "qwen3_5_moe": qwen3_5_moe, "granitemoehybrid": granitemoehybrid,
    "granitemoehybrid_dense": granitemoehybrid_dense, "jamba": jamba, "falcon_h1": falcon_h1,
    "nemotron_h": nemotron_h, "lfm2": lfm2,
}  # fmt: skip
