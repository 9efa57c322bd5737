"""How many tokens a model can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.errors import ForgeError, Position

__all__ = ["check_length", "most_positions"]

POSITIONS = (
    "max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length",
    "n_ctx", "model_max_length",
)  # fmt: skip
PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


def most_positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens the config says that the model can tell apart."""
    parts = (config.get(part) for part in PARTS)
    for holder in (config, *(part for part in parts if isinstance(part, Mapping))):
        for name in POSITIONS:
            limit = holder.get(name)
            if isinstance(limit, int) and limit > 0:
                return limit
    return None


def check_length(limit: int | None, wanted: int, section: str, at: Position | None = None) -> None:
    """ForgeError where windows of ``wanted`` tokens have more positions than the model's ``limit``,
    if it has one; ``section`` of the recipe says how many, and ``at`` which place."""
    if limit is not None and limit < wanted:
        raise ForgeError(
            f"{section}: sequence_length {wanted} is more than the model's {limit} positions",
            f"use {section}: {{sequence_length: {limit}}} or less",
            at,
            key="sequence_length",
        )
