"""LLaVA 1.5: CLIP, two projections, a llama; float16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, INNER, LAYERS, Weights, cast, fields, random
from tests.checkpoints.vision.folder import CLIP_SCALE, Files, Tokens, chat_template, write_vision
from tests.checkpoints.vision.layers import PATCH, clip, decoder, linear, transformer

TOKENS = Tokens(("<image>", "<pad>"))
SIDE = 4


def llava(folder: Path) -> Path:
    mx.random.seed(0)
    text = fields(
        "llama",
        architectures=["LlamaForCausalLM"],
        vocab_size=TOKENS.rows,
        head_dim=None,
        torch_dtype="float16",
    )
    config: dict[str, Any] = {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
        "image_token_index": TOKENS["<image>"], "model_type": "llava",
        "pad_token_id": TOKENS["<pad>"], "projector_hidden_act": "gelu", "text_config": text,
        "tie_word_embeddings": False, "torch_dtype": "float16",
        "vision_config": {
            "hidden_size": HIDDEN, "image_size": SIDE * PATCH, "intermediate_size": 4 * HIDDEN,
            "model_type": "clip_vision_model", "num_attention_heads": 4,
            "num_hidden_layers": LAYERS, "patch_size": PATCH, "projection_dim": INNER,
            "vocab_size": TOKENS.rows,
        },
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
        "vocab_size": TOKENS.rows,
    }  # fmt: skip
    tower = "vision_tower.vision_model."
    weights = clip(tower, SIDE**2) | transformer(tower)
    weights |= projector() | decoder("language_model.model.", TOKENS.rows)
    weights["language_model.lm_head.weight"] = random(TOKENS.rows, HIDDEN)
    return write_vision(cast((config, weights), "float16"), folder, TOKENS, _files())


def projector() -> Weights:
    prefix = "multi_modal_projector.linear_"
    return linear(f"{prefix}1", HIDDEN, HIDDEN) | linear(f"{prefix}2", HIDDEN, HIDDEN)


def _files() -> Files:
    side = SIDE * PATCH
    preprocessor = {
        "crop_size": {"height": side, "width": side}, "do_center_crop": True,
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor",
        "resample": 3, "size": {"shortest_edge": side}, **CLIP_SCALE,
    }  # fmt: skip
    processor = {
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": PATCH,
        "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default",
    }  # fmt: skip
    documents = {
        "preprocessor_config.json": preprocessor,
        "processor_config.json": processor,
        "chat_template.json": {"chat_template": chat_template("<image>\n")},
    }
    return Files(documents, {"chat_template": None, "processor_class": "LlavaProcessor"})
