"""What a layer is for, read from its path and from the classes on the way to it."""

from __future__ import annotations

import pytest

from mlxforge.models.layers.roles import role_of

CLASSES = {
    "model.embed_tokens": "Embedding",
    "model.layers.0.mixer": "NemotronHMLP",
    "model.layers.1.mixer": "NemotronHAttention",
    "model.layers.2.mlps.0": "LongcatFlashMLP",
    "model.layers.3.ffn.bank.up": "SwitchLinear",
    "model.layers.3.self_attn.out": "SwitchLinear",
    "model.layers.3.self_attn.norm": "RMSNorm",
    "model.ngrams": "NgramEmbedding",
}
EXPERTS = {"model.layers.3.ffn.bank.up"}


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.embed_tokens", "embeddings"),
        ("model.ngrams.projections.0", "embeddings"),
        # the class tells what the name does not
        ("model.layers.0.mixer.up_proj", "mlp"),
        ("model.layers.1.mixer.q_proj", "attention"),
        ("model.layers.2.mlps.0.up_proj", "mlp"),
        # a gate beside experts chooses among them; elsewhere it is a projection like others
        ("model.layers.3.ffn.gate", "router"),
        ("model.layers.3.ffn.bank.up", "experts"),
        ("model.layers.4.ffn.gate", "mlp"),
        ("model.layers.3.ffn.shared_expert.up_proj", "shared_experts"),
        ("model.layers.4.shared_mlp.up_proj", "mlp"),
        # matrices of all heads in one, not of experts
        ("model.layers.3.self_attn.out", "attention"),
        ("model.layers.3.self_attn.norm", "other"),
        # outside of the layers it is the head, inside a projection
        ("lm_head", "lm_head"),
        ("language_model.lm_head.linear", "lm_head"),
        ("model.output", "lm_head"),
        ("model.layers.1.attention.output", "attention"),
        # what joins a tower to the language model, inside the tower or not
        ("visual.blocks.0.attn.qkv", "vision"),
        ("visual.merger.mlp.0", "projector"),
        ("model.vision_embed_tokens.img_processor.layers.0.mlp.fc1", "vision"),
        ("model.vision_embed_tokens.img_projection.0", "projector"),
        ("audio_tower.layers.0.self_attn.q_proj", "audio"),
        ("talker.model.layers.0.mlp.up_proj", "audio"),
        ("audio_projection.linear", "projector"),
        ("multi_modal_projector.linear_1", "projector"),
        ("model.layers.0.per_layer_projection", "other"),
    ],
)
def test_place_name_and_class_tell_the_role(path: str, role: str) -> None:
    assert role_of(path, CLASSES, EXPERTS) == role
