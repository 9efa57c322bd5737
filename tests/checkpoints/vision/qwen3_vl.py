"""Qwen3-VL: what some of the tower's layers see is added to the decoder's first layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, INNER, LAYERS, Weights, fields, random
from tests.checkpoints.vision.folder import SIGLIP_SCALE, Files, write_vision
from tests.checkpoints.vision.layers import decoder, linear, norm
from tests.checkpoints.vision.qwen2_vl import TEMPLATE, TOKENS, token_fields

PATCH = 16
POSITIONS = 8 * 8


def qwen3_vl(folder: Path) -> Path:
    """Tied embeddings; the dtype stands in ``text_config`` alone, and under its new name."""
    mx.random.seed(0)
    tokens = {name: token for name, token in token_fields().items() if name != "vision_token_id"}
    config: dict[str, Any] = {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
        "text_config": _text_fields(), "tie_word_embeddings": True, **tokens,
        "vision_config": {
            "deepstack_visual_indexes": [0], "depth": LAYERS, "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": HIDDEN, "in_channels": 3, "initializer_range": 0.02,
            "intermediate_size": INNER, "model_type": "qwen3_vl", "num_heads": 4,
            "num_position_embeddings": POSITIONS, "out_hidden_size": HIDDEN, "patch_size": PATCH,
            "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
    }  # fmt: skip
    weights = _tower() | decoder("model.language_model.", TOKENS.rows, qk_norm=True)
    return write_vision((config, weights), folder, TOKENS, _files())


def _text_fields() -> dict[str, Any]:
    found = fields(
        "qwen3_vl_text", vocab_size=TOKENS.rows, tie_word_embeddings=True, dtype="bfloat16",
        attention_bias=False, attention_dropout=0.0, bos_token_id=0, eos_token_id=0,
        hidden_act="silu", initializer_range=0.02, max_position_embeddings=262144,
        rms_norm_eps=1e-06, rope_theta=5000000, use_cache=True,
        rope_scaling={
            "mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default",
        },
    )  # fmt: skip
    del found["torch_dtype"]
    return found


def _tower() -> Weights:
    weights = {
        "model.visual.patch_embed.proj.weight": random(HIDDEN, 3, 2, PATCH, PATCH),
        "model.visual.patch_embed.proj.bias": random(HIDDEN),
        "model.visual.pos_embed.weight": random(POSITIONS, HIDDEN),
    }
    for layer in range(LAYERS):
        path = f"model.visual.blocks.{layer}."
        weights |= norm(f"{path}norm1") | norm(f"{path}norm2")
        weights |= linear(f"{path}attn.qkv", 3 * HIDDEN, HIDDEN)
        weights |= linear(f"{path}attn.proj", HIDDEN, HIDDEN)
        weights |= linear(f"{path}mlp.linear_fc1", INNER, HIDDEN)
        weights |= linear(f"{path}mlp.linear_fc2", HIDDEN, INNER)
    # one norm is before four patches are put together, the other after
    for name, size in (("merger", HIDDEN), ("deepstack_merger_list.0", 4 * HIDDEN)):
        path = f"model.visual.{name}."
        weights |= norm(f"{path}norm", size)
        weights |= linear(f"{path}linear_fc1", 4 * HIDDEN, 4 * HIDDEN)
        weights |= linear(f"{path}linear_fc2", HIDDEN, 4 * HIDDEN)
    return weights


def _files() -> Files:
    scale = {key: SIGLIP_SCALE[key] for key in ("image_mean", "image_std")}
    sizes = {"longest_edge": 16 * (2 * PATCH) ** 2, "shortest_edge": 4 * (2 * PATCH) ** 2}
    shared = {
        "size": sizes, "patch_size": PATCH, "temporal_patch_size": 2, "merge_size": 2, **scale,
        "processor_class": "Qwen3VLProcessor",
    }  # fmt: skip
    image = {"image_processor_type": "Qwen2VLImageProcessorFast"}
    video = {"video_processor_type": "Qwen3VLVideoProcessor"}
    documents = {
        "preprocessor_config.json": shared | image,
        "video_preprocessor_config.json": shared | video,
        "chat_template.json": {"chat_template": TEMPLATE},
    }
    return Files(documents, {"chat_template": TEMPLATE})
