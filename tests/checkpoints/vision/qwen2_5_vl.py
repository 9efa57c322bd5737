"""Qwen2.5-VL: a tower with gated layers that attend within windows, but for some."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, INNER, LAYERS, Weights, fields, random
from tests.checkpoints.vision.folder import write_vision
from tests.checkpoints.vision.layers import PATCH, decoder, linear
from tests.checkpoints.vision.qwen2_vl import (
    TOKENS,
    language_fields,
    merger,
    processor_files,
    token_fields,
)


def qwen2_5_vl(folder: Path) -> Path:
    """A head of its own, as in the release of 7 B parameters; the last layer sees all windows."""
    mx.random.seed(0)
    config = fields(
        "qwen2_5_vl", architectures=["Qwen2_5_VLForConditionalGeneration"],
        vocab_size=TOKENS.rows, **language_fields(), **token_fields(),
        vision_config={
            "depth": LAYERS, "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_heads": 4, "in_chans": 3, "out_hidden_size": HIDDEN,
            "patch_size": PATCH, "spatial_merge_size": 2, "spatial_patch_size": PATCH,
            "window_size": 4 * PATCH, "fullatt_block_indexes": [LAYERS - 1],
            "tokens_per_second": 2, "temporal_patch_size": 2,
        },
    )  # fmt: skip
    weights = _tower() | decoder("model.", TOKENS.rows, qkv_bias=True)
    weights["lm_head.weight"] = random(TOKENS.rows, HIDDEN)
    return write_vision((config, weights), folder, TOKENS, processor_files("Qwen2_5_VL"))


def _tower() -> Weights:
    weights = {"visual.patch_embed.proj.weight": random(HIDDEN, 3, 2, PATCH, PATCH)}
    for layer in range(LAYERS):
        path = f"visual.blocks.{layer}."
        for name in ("norm1", "norm2"):
            weights[f"{path}{name}.weight"] = 1 + random(HIDDEN)
        weights |= linear(f"{path}attn.qkv", 3 * HIDDEN, HIDDEN)
        weights |= linear(f"{path}attn.proj", HIDDEN, HIDDEN)
        weights |= linear(f"{path}mlp.gate_proj", INNER, HIDDEN)
        weights |= linear(f"{path}mlp.up_proj", INNER, HIDDEN)
        weights |= linear(f"{path}mlp.down_proj", HIDDEN, INNER)
    weights["visual.merger.ln_q.weight"] = 1 + random(HIDDEN)
    return weights | merger("visual.merger.mlp.")
