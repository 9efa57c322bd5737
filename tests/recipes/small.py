"""A small random checkpoint with all of a release's configuration but the sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.checkpoints.common import LAYERS

__all__ = ["released"]

SIZES = (
    "hidden_size", "intermediate_size", "moe_intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "num_experts",
    "num_local_experts", "num_experts_per_tok", "experts_per_token", "query_pre_attn_scalar",
    "image_size", "patch_size", "mm_tokens_per_image", "sliding_window_pattern",
)  # fmt: skip
TOKENS = (
    "bos_token_id", "eos_token_id", "pad_token_id", "boi_token_index", "eoi_token_index",
    "image_token_index",
)  # fmt: skip
BY_LAYER = ("layer_types", "no_rope_layers")
BY_PAIR = ("long_factor", "short_factor")


def released(folder: Path, release: Mapping[str, Any]) -> Path:
    """Give the checkpoint in ``folder`` the release's configuration, but its own sizes and the
    places of tokens in its own vocabulary. Lists with an entry per layer keep their last ones,
    where patterns end."""
    file = folder / "config.json"
    file.write_text(json.dumps(_sized(release, json.loads(file.read_text())), indent=2))
    return folder


def _sized(release: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(release)
    config |= {name: own[name] for name in SIZES if name in own}
    config |= {name: own.get(name, 0) for name in TOKENS if name in config}
    config |= {name: config[name][-LAYERS:] for name in BY_LAYER if name in config}
    for section in ("text_config", "vision_config"):
        if section in config:
            config[section] = _sized(config[section], own[section])
    if scaling := config.get("rope_scaling"):
        width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        pairs = int(width * config.get("partial_rotary_factor", 1.0)) // 2
        cut = {name: scaling[name][:pairs] for name in BY_PAIR if name in scaling}
        config["rope_scaling"] = scaling | cut
    return config
