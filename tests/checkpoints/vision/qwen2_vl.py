"""Qwen2-VL: one fused projection for query, key and value in the tower, three-part positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, LAYERS, Weights, fields, random
from tests.checkpoints.vision.folder import (
    CLIP_SCALE,
    Files,
    Tokens,
    chat_template,
    write_vision,
)
from tests.checkpoints.vision.layers import PATCH, decoder, linear, norm

TOKENS = Tokens((
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
))  # fmt: skip
TEMPLATE = chat_template("<|vision_start|><|image_pad|><|vision_end|>")


def qwen2_vl(folder: Path) -> Path:
    """Tied embeddings, as in the release of 2 B parameters."""
    mx.random.seed(0)
    config = fields(
        "qwen2_vl", architectures=["Qwen2VLForConditionalGeneration"], vocab_size=TOKENS.rows,
        tie_word_embeddings=True, **language_fields(), **token_fields(),
        vision_config={
            "depth": LAYERS, "embed_dim": HIDDEN, "mlp_ratio": 4, "num_heads": 4, "in_chans": 3,
            "hidden_size": HIDDEN, "patch_size": PATCH, "spatial_merge_size": 2,
            "spatial_patch_size": PATCH, "temporal_patch_size": 2,
        },
    )  # fmt: skip
    weights = _tower() | decoder("model.", TOKENS.rows, qkv_bias=True)
    return write_vision((config, weights), folder, TOKENS, processor_files("Qwen2VL"))


def _tower() -> Weights:
    weights = {"visual.patch_embed.proj.weight": random(HIDDEN, 3, 2, PATCH, PATCH)}
    for layer in range(LAYERS):
        path = f"visual.blocks.{layer}."
        weights |= norm(f"{path}norm1") | norm(f"{path}norm2")
        weights |= linear(f"{path}attn.qkv", 3 * HIDDEN, HIDDEN)
        weights |= linear(f"{path}attn.proj", HIDDEN, HIDDEN)
        weights |= linear(f"{path}mlp.fc1", 4 * HIDDEN, HIDDEN)
        weights |= linear(f"{path}mlp.fc2", HIDDEN, 4 * HIDDEN)
    return weights | norm("visual.merger.ln_q") | merger("visual.merger.mlp.")


def merger(prefix: str) -> Weights:
    """Four patches become one token."""
    return linear(f"{prefix}0", 4 * HIDDEN, 4 * HIDDEN) | linear(f"{prefix}2", HIDDEN, 4 * HIDDEN)


def language_fields() -> dict[str, Any]:
    return {
        "head_dim": None, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0,
        "hidden_act": "silu", "initializer_range": 0.02, "max_position_embeddings": 32768,
        "max_window_layers": LAYERS, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "use_cache": True, "use_sliding_window": False,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
    }  # fmt: skip


def token_fields() -> dict[str, int]:
    return {
        "vision_start_token_id": TOKENS["<|vision_start|>"],
        "vision_end_token_id": TOKENS["<|vision_end|>"],
        "vision_token_id": TOKENS["<|vision_pad|>"],
        "image_token_id": TOKENS["<|image_pad|>"],
        "video_token_id": TOKENS["<|video_pad|>"],
    }


def processor_files(name: str) -> Files:
    """Images of 4 to 16 tokens; the template stands in two files."""
    preprocessor = {
        "min_pixels": 4 * (2 * PATCH) ** 2, "max_pixels": 16 * (2 * PATCH) ** 2,
        "patch_size": PATCH, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": CLIP_SCALE["image_mean"], "image_std": CLIP_SCALE["image_std"],
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": f"{name}Processor",
    }  # fmt: skip
    return Files(
        {
            "preprocessor_config.json": preprocessor,
            "chat_template.json": {"chat_template": TEMPLATE},
        },
        {"chat_template": TEMPLATE},
    )
