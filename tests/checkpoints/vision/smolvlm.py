"""SmolVLM2: Idefics3's layout with more patches to a token; the template is a text file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.checkpoints.common import fields
from tests.checkpoints.vision.folder import Files, chat_template, write_vision
from tests.checkpoints.vision.idefics3 import TOKENS, files, model
from tests.checkpoints.vision.layers import siglip_fields

PATCH, SIDE = 16, 8


def smolvlm(folder: Path) -> Path:
    """Tiles of 8 x 8 patches, 16 of which become one token."""
    mx.random.seed(0)
    side = SIDE * PATCH
    vision = siglip_fields(
        model_type="smolvlm_vision", patch_size=PATCH, image_size=side,
        max_image_size={"longest_edge": side}, size={"longest_edge": 2 * side},
        tie_word_embeddings=False, use_base_siglip=False,
    )  # fmt: skip
    text = fields(
        "llama", architectures=["VLlama3ForCausalLM"], vocab_size=TOKENS.rows, rope_theta=100000,
        rope_interleaved=False, pad_token_id=0, is_llama_config=True, pixel_shuffle_factor=4,
    )  # fmt: skip
    config: dict[str, Any] = {
        "architectures": ["SmolVLMForConditionalGeneration"], "model_type": "smolvlm",
        "image_token_id": TOKENS["<image>"], "scale_factor": 4, "pad_token_id": 0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": False,
        "vocab_size": TOKENS.rows, "text_config": text, "vision_config": vision,
    }  # fmt: skip
    weights = model(SIDE**2, PATCH, scale=4)
    return write_vision((config, weights), folder, TOKENS, _files(side))


def _files(side: int) -> Files:
    documents = dict(files("SmolVLM", side).documents)
    del documents["chat_template.json"]
    documents["chat_template.jinja"] = chat_template("<image>")
    return Files(documents, {"chat_template": None, "processor_class": "SmolVLMProcessor"})
