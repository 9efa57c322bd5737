"""PaliGemma: tied embeddings, one projection, no chat template; float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import HIDDEN, Weights, cast, fields
from tests.checkpoints.vision.folder import SIGLIP_SCALE, Files, Tokens, write_vision
from tests.checkpoints.vision.layers import (
    GEMMA_EMBEDDINGS,
    PATCH,
    decoder,
    linear,
    siglip,
    siglip_fields,
)

PLACES = tuple(f"<loc{place:04}>" for place in range(1024))
SEGMENTS = tuple(f"<seg{segment:03}>" for segment in range(128))
TOKENS = Tokens(("<bos>", *PLACES, *SEGMENTS, "<image>"))
SIDE = 4


def paligemma(folder: Path) -> Path:
    """The places and segments that the processor adds to any tokenizer are there already."""
    mx.random.seed(0)
    text = fields(
        "gemma", vocab_size=TOKENS.rows, num_image_tokens=SIDE**2, torch_dtype="float32",
        tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh",
    )  # fmt: skip
    vision = siglip_fields(
        num_image_tokens=SIDE**2, projection_dim=HIDDEN, projector_hidden_act="gelu_fast",
        vision_use_head=False,
    )  # fmt: skip
    config: dict[str, Any] = {
        "_vocab_size": TOKENS["<image>"], "architectures": ["PaliGemmaForConditionalGeneration"],
        "bos_token_id": TOKENS["<bos>"], "eos_token_id": 0, "hidden_size": HIDDEN,
        "ignore_index": -100, "image_token_index": TOKENS["<image>"], "model_type": "paligemma",
        "pad_token_id": 0, "projection_dim": HIDDEN, "text_config": text,
        "torch_dtype": "float32", "vision_config": vision,
    }  # fmt: skip
    weights = siglip("vision_tower.vision_model.", SIDE**2) | _language()
    weights |= linear("multi_modal_projector.linear", HIDDEN, HIDDEN)
    return write_vision(cast((config, weights), "float32"), folder, TOKENS, _files())


def _language() -> Weights:
    """Gemma's norms count from one."""
    weights = decoder("language_model.model.", TOKENS.rows, embeddings=GEMMA_EMBEDDINGS)
    return {name: array - 1 if "norm" in name else array for name, array in weights.items()}


def _files() -> Files:
    side = SIDE * PATCH
    preprocessor = {
        "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_processor_type": "SiglipImageProcessor", "image_seq_length": SIDE**2,
        "processor_class": "PaliGemmaProcessor", "resample": 3,
        "size": {"height": side, "width": side}, **SIGLIP_SCALE,
    }  # fmt: skip
    tokenizer = {
        "chat_template": None, "bos_token": "<bos>", "processor_class": "PaliGemmaProcessor",
    }  # fmt: skip
    return Files({"preprocessor_config.json": preprocessor}, tokenizer)
