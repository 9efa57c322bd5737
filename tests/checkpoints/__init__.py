"""Small random checkpoints of many architectures, with the key names that the Hub's files have.

Each maker returns the config's fields and the tensors; ``write`` puts them into a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from tests.checkpoints.common import Checkpoint, cast, random, write
from tests.checkpoints.dense import (
    gemma3_text,
    granite,
    llama,
    ministral3,
    mistral,
    phi3,
    qwen2,
    qwen3,
)
from tests.checkpoints.experts import deepseek_v3, mixtral, phimoe, qwen3_moe
from tests.checkpoints.packed import awq, deepseek_fp8, gpt_oss, gptq
from tests.checkpoints.state_space import mamba2

__all__ = [
    "PLAIN",
    "Checkpoint",
    "awq",
    "cast",
    "deepseek_fp8",
    "gpt_oss",
    "gptq",
    "llama",
    "mixtral",
    "random",
    "stored",
    "write",
]

PLAIN: dict[str, Callable[[], Checkpoint]] = {
    "llama": llama, "qwen2": qwen2, "qwen3": qwen3, "qwen3_moe": qwen3_moe, "mistral": mistral,
    "ministral3": ministral3, "mixtral": mixtral, "phi3": phi3, "phimoe": phimoe,
    "gemma3_text": gemma3_text, "deepseek_v3": deepseek_v3, "granite": granite, "mamba2": mamba2,
}  # fmt: skip
"""By model type; every weight as it was trained, none packed."""


def stored(name: str, root: Path) -> Path:
    """The folder of one of ``PLAIN`` below ``root``: written once, for all tests that share it."""
    folder = root / name
    if not folder.exists():
        mx.random.seed(1)
        write(PLAIN[name](), folder)
    return folder
