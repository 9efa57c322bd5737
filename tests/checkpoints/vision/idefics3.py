"""Idefics3: large images are cut into tiles beside one of the whole; the head lies apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, Weights, fields, random
from tests.checkpoints.vision.folder import (
    SIGLIP_SCALE,
    Files,
    Tokens,
    chat_template,
    write_vision,
)
from tests.checkpoints.vision.layers import PATCH, decoder, siglip, siglip_fields

TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
TOKENS = Tokens((
    "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *TILES,
))  # fmt: skip
SIDE = 4


def idefics3(folder: Path) -> Path:
    """Tiles of 4 x 4 patches, 4 of which become one token."""
    mx.random.seed(0)
    config: dict[str, Any] = {
        "architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3",
        "image_token_id": TOKENS["<image>"], "scale_factor": 2, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": TOKENS.rows,
        "text_config": fields("llama", vocab_size=TOKENS.rows, rope_theta=500000.0),
        "vision_config": siglip_fields(model_type="idefics3", image_size=SIDE * PATCH),
    }  # fmt: skip
    weights = model(SIDE**2, PATCH, scale=2)
    return write_vision((config, weights), folder, TOKENS, files("Idefics3", SIDE * PATCH))


def model(patches: int, patch: int, scale: int) -> Weights:
    """``scale`` x ``scale`` patches go into one token."""
    return {
        **siglip("model.vision_model.", patches, patch),
        "model.connector.modality_projection.proj.weight": random(HIDDEN, scale**2 * HIDDEN),
        **decoder("model.text_model.", TOKENS.rows),
        "lm_head.weight": random(TOKENS.rows, HIDDEN),
    }


def files(name: str, side: int) -> Files:
    """Images of up to two tiles' width, each tile 4 tokens."""
    preprocessor = {
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True,
        "do_rescale": True, "do_resize": True, "image_processor_type": f"{name}ImageProcessor",
        "max_image_size": {"longest_edge": side}, "processor_class": f"{name}Processor",
        "resample": 1, "size": {"longest_edge": 2 * side}, **SIGLIP_SCALE,
    }  # fmt: skip
    template = chat_template("<image>")
    documents = {
        "preprocessor_config.json": preprocessor,
        "processor_config.json": {"image_seq_len": 4, "processor_class": f"{name}Processor"},
        "chat_template.json": {"chat_template": template},
    }
    return Files(documents, {"chat_template": template, "processor_class": f"{name}Processor"})
