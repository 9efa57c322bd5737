"""Phi-3.5-vision: fused projections, and CLIP ViT-L/14-336 inside the decoder, whatever the config
says, which makes it 610 MB: a tower that mlx_vlm does not let be smaller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, INNER, LAYERS, Weights, fields, norms, random
from tests.checkpoints.vision.folder import CLIP_SCALE, Files, Tokens, write_vision
from tests.checkpoints.vision.layers import clip, linear, transformer

TOKENS = Tokens(("<|image|>", "<|placeholder1|>", "<|system|>"))
TOWER, TOWER_LAYERS, PATCHES = 1024, 24, 24 * 24
CODE = {
    "AutoConfig": "configuration_phi3_v.Phi3VConfig",
    "AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM",
}


def phi3_v(folder: Path) -> Path:
    mx.random.seed(0)
    factors = [1.0] * 16
    config = fields(
        "phi3_v", architectures=["Phi3VForCausalLM"], auto_map=CODE, vocab_size=TOKENS.rows,
        num_key_value_heads=4, head_dim=None, attention_dropout=0.0, bos_token_id=0, eos_token_id=0,
        pad_token_id=0, embd_pdrop=0.0, resid_pdrop=0.0, sliding_window=262144,
        embd_layer={
            "embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp",
            "use_hd_transform": True, "with_learnable_separator": True,
        },
        img_processor={
            "image_dim_out": TOWER, "model_name": "openai/clip-vit-large-patch14-336",
            "name": "clip_vision_model", "num_img_tokens": 144,
        },
        max_position_embeddings=131072, original_max_position_embeddings=4096,
        rope_scaling={"long_factor": factors, "short_factor": factors, "type": "su"},
    )  # fmt: skip
    weights = _language() | _projector("model.vision_embed_tokens.")
    weights |= _tower("model.vision_embed_tokens.img_processor.vision_model.")
    return write_vision((config, weights), folder, TOKENS, _files())


def _language() -> Weights:
    weights = {
        "model.embed_tokens.weight": random(TOKENS.rows, HIDDEN),
        "model.norm.weight": 1 + random(HIDDEN),
        "lm_head.weight": random(TOKENS.rows, HIDDEN),
    }
    for layer in range(LAYERS):
        path = f"model.layers.{layer}."
        weights[f"{path}self_attn.qkv_proj.weight"] = random(3 * HIDDEN, HIDDEN)
        weights[f"{path}self_attn.o_proj.weight"] = random(HIDDEN, HIDDEN)
        weights[f"{path}mlp.gate_up_proj.weight"] = random(2 * INNER, HIDDEN)
        weights[f"{path}mlp.down_proj.weight"] = random(HIDDEN, INNER)
        weights |= norms(path, "input_layernorm", "post_attention_layernorm")
    return weights


def _projector(prefix: str) -> Weights:
    """Four patches become one token, between learned separators of lines and of images."""
    return {
        f"{prefix}glb_GN": random(1, 1, 4 * TOWER),
        f"{prefix}sub_GN": random(1, 1, 1, 4 * TOWER),
        **linear(f"{prefix}img_projection.0", HIDDEN, 4 * TOWER),
        **linear(f"{prefix}img_projection.2", HIDDEN, HIDDEN),
    }


def _tower(prefix: str) -> Weights:
    """One random layer, rolled further in each layer after it: random numbers take longer to make
    than all the rest."""
    weights = clip(prefix, PATCHES, hidden=TOWER)
    first = f"{prefix}encoder.layers.0."
    for name, array in transformer(prefix, hidden=TOWER, layers=1).items():
        for layer in range(TOWER_LAYERS):
            moved = name.replace(first, f"{prefix}encoder.layers.{layer}.")
            weights[moved] = mx.roll(array, layer, 0)
    return weights


def _files() -> Files:
    """Images of one tile beside the whole; the release's own processor is Python code, which
    mlx_vlm does without."""
    preprocessor: dict[str, Any] = {
        "auto_map": {
            "AutoImageProcessor": "processing_phi3_v.Phi3VImageProcessor",
            "AutoProcessor": "processing_phi3_v.Phi3VProcessor",
        },
        "image_mean": CLIP_SCALE["image_mean"], "image_std": CLIP_SCALE["image_std"],
        "image_processor_type": "Phi3VImageProcessor", "num_crops": 1, "num_img_tokens": 144,
        "processor_class": "Phi3VProcessor",
    }  # fmt: skip
    return Files({"preprocessor_config.json": preprocessor})
