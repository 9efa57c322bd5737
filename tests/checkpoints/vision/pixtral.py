"""Pixtral: images of any size, with positions by row and column; no norm or layer has a bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import (
    HIDDEN,
    INNER,
    LAYERS,
    PROJECTIONS,
    Weights,
    fields,
    mlp,
    random,
)
from tests.checkpoints.vision.folder import CLIP_SCALE, Files, Tokens, chat_template, write_vision
from tests.checkpoints.vision.layers import decoder
from tests.checkpoints.vision.llava import projector

TOKENS = Tokens(("[IMG]", "[IMG_BREAK]", "[IMG_END]"))
PATCH, SIDE = 16, 4


def pixtral(folder: Path) -> Path:
    """The released layout with the model type that mlx_vlm has for it: the release says "llava",
    as which mlx_vlm cannot load it."""
    mx.random.seed(0)
    config: dict[str, Any] = {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
        "image_seq_length": 1, "image_token_index": TOKENS["[IMG]"], "model_type": "pixtral",
        "projector_hidden_act": "gelu", "torch_dtype": "bfloat16",
        "text_config": fields(
            "mistral", vocab_size=TOKENS.rows, is_composition=True,
            max_position_embeddings=1024000, rope_theta=1000000000.0,
        ) | {"sliding_window": None},
        "vision_config": {
            "head_dim": 32, "hidden_size": HIDDEN, "image_size": SIDE * PATCH,
            "intermediate_size": INNER, "is_composition": True, "model_type": "pixtral",
            "num_attention_heads": 4, "num_hidden_layers": LAYERS, "patch_size": PATCH,
            "rope_theta": 10000.0, "tie_word_embeddings": False,
        },
        "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
    }  # fmt: skip
    weights = _tower() | projector() | decoder("language_model.model.", TOKENS.rows)
    weights["language_model.lm_head.weight"] = random(TOKENS.rows, HIDDEN)
    return write_vision((config, weights), folder, TOKENS, _files())


def _tower() -> Weights:
    weights = {
        "vision_tower.patch_conv.weight": random(HIDDEN, 3, PATCH, PATCH),
        "vision_tower.ln_pre.weight": 1 + random(HIDDEN),
    }
    for layer in range(LAYERS):
        path = f"vision_tower.transformer.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights[f"{path}attention.{name}.weight"] = random(HIDDEN, HIDDEN)
        weights |= mlp(f"{path}feed_forward.", PROJECTIONS)
        for name in ("attention_norm", "ffn_norm"):
            weights[f"{path}{name}.weight"] = 1 + random(HIDDEN)
    return weights


def _files() -> Files:
    preprocessor = {
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_processor_type": "PixtralImageProcessor", "processor_class": "PixtralProcessor",
        "patch_size": {"height": PATCH, "width": PATCH}, "resample": 3,
        "size": {"longest_edge": SIDE * PATCH}, **CLIP_SCALE,
    }  # fmt: skip
    processor = {
        "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]",
        "image_token": "[IMG]", "patch_size": PATCH, "processor_class": "PixtralProcessor",
    }  # fmt: skip
    documents = {
        "preprocessor_config.json": preprocessor,
        "processor_config.json": processor,
        "chat_template.json": {"chat_template": chat_template("[IMG]")},
    }
    return Files(documents, {"chat_template": None, "processor_class": "PixtralProcessor"})
