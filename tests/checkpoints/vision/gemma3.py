"""Gemma 3 with its tower: tied embeddings, a projection that is stored transposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, LAYERS, Weights, fields, random
from tests.checkpoints.vision.folder import (
    SIGLIP_SCALE,
    Files,
    Tokens,
    chat_template,
    write_vision,
)
from tests.checkpoints.vision.layers import (
    GEMMA_EMBEDDINGS,
    PATCH,
    decoder,
    siglip,
    siglip_fields,
)

NAMES = {
    "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}  # fmt: skip
TOKENS = Tokens(tuple(NAMES.values()))
SIDE, TOKENS_PER_IMAGE = 4, 4


def gemma3(folder: Path) -> Path:
    mx.random.seed(0)
    text = fields(
        "gemma3_text", vocab_size=TOKENS.rows, tie_word_embeddings=True, query_pre_attn_scalar=32,
        sliding_window=64, sliding_window_pattern=2, rope_global_base_freq=1e6,
        rope_local_base_freq=1e4, hidden_activation="gelu_pytorch_tanh",
        hidden_act=None, rope_scaling={"factor": 8.0, "rope_type": "linear"},
        # mlx_vlm looks for it here alone
        mm_tokens_per_image=TOKENS_PER_IMAGE,
    )  # fmt: skip
    config: dict[str, Any] = {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "boi_token_index": TOKENS["<start_of_image>"], "eoi_token_index": TOKENS["<end_of_image>"],
        "eos_token_id": [0], "image_token_index": TOKENS["<image_soft_token>"],
        "initializer_range": 0.02, "mm_tokens_per_image": TOKENS_PER_IMAGE,
        "text_config": text, "torch_dtype": "bfloat16",
        "vision_config": siglip_fields(vision_use_head=False),
    }  # fmt: skip
    weights = siglip("vision_tower.vision_model.", SIDE**2) | _language()
    weights["multi_modal_projector.mm_input_projection_weight"] = random(HIDDEN, HIDDEN)
    weights["multi_modal_projector.mm_soft_emb_norm.weight"] = random(HIDDEN)
    return write_vision((config, weights), folder, TOKENS, _files())


def _language() -> Weights:
    """Gemma's norms count from one."""
    weights = decoder(
        "language_model.model.", TOKENS.rows, qk_norm=True, embeddings=GEMMA_EMBEDDINGS
    )
    for layer in range(LAYERS):
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            weights[f"language_model.model.layers.{layer}.{name}.weight"] = random(HIDDEN)
    return {name: array - 1 if _is_norm(name) else array for name, array in weights.items()}


def _is_norm(name: str) -> bool:
    return name.endswith("norm.weight") and "feedforward" not in name


def _files() -> Files:
    side = SIDE * PATCH
    preprocessor = {
        "do_convert_rgb": None, "do_normalize": True, "do_pan_and_scan": None, "do_rescale": True,
        "do_resize": True, "image_processor_type": "Gemma3ImageProcessor",
        "image_seq_length": TOKENS_PER_IMAGE, "pan_and_scan_max_num_crops": None,
        "pan_and_scan_min_crop_size": None, "pan_and_scan_min_ratio_to_activate": None,
        "processor_class": "Gemma3Processor", "resample": 2,
        "size": {"height": side, "width": side}, **SIGLIP_SCALE,
    }  # fmt: skip
    template = chat_template("<start_of_image>")
    documents = {
        "preprocessor_config.json": preprocessor,
        "processor_config.json": {
            "image_seq_length": TOKENS_PER_IMAGE, "processor_class": "Gemma3Processor",
        },
        "chat_template.json": {"chat_template": template},
    }  # fmt: skip
    tokenizer = {
        "chat_template": template, "extra_special_tokens": NAMES, **NAMES,
        "processor_class": "Gemma3Processor",
    }  # fmt: skip
    return Files(documents, tokenizer)
