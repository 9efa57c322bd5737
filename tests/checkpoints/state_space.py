"""State-space models."""

from __future__ import annotations

import math

from tests.checkpoints.common import HIDDEN, LAYERS, VOCABULARY, Checkpoint, fields, random

UNKNOWN = dict.fromkeys(
    ("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "rope_theta",
     "max_position_embeddings")
)  # fmt: skip
"""What models with attention have."""


def mamba2() -> Checkpoint:
    """A state-space model: convolutions with their axes in torch's order."""
    heads, width, state, groups = 8, 32, 16, 1
    inner = heads * width
    mixed = inner + 2 * groups * state
    weights = {
        "backbone.embeddings.weight": random(VOCABULARY, HIDDEN),
        "backbone.norm_f.weight": 1 + random(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"backbone.layers.{layer}."
        weights[f"{prefix}norm.weight"] = 1 + random(HIDDEN)
        weights[f"{prefix}mixer.in_proj.weight"] = random(inner + mixed + heads, HIDDEN)
        weights[f"{prefix}mixer.out_proj.weight"] = random(HIDDEN, inner)
        weights[f"{prefix}mixer.conv1d.weight"] = random(mixed, 1, 4)
        weights[f"{prefix}mixer.conv1d.bias"] = random(mixed)
        weights[f"{prefix}mixer.norm.weight"] = 1 + random(inner)
        for name in ("A_log", "D", "dt_bias"):
            weights[f"{prefix}mixer.{name}"] = random(heads)
    config = fields(
        "mamba2", architectures=["Mamba2ForCausalLM"], chunk_size=256, conv_kernel=4, expand=2,
        head_dim=width, intermediate_size=inner, layer_norm_epsilon=1e-5, n_groups=groups,
        norm_before_gate=True, num_heads=heads, rescale_prenorm_residual=False,
        residual_in_fp32=True, rms_norm=True, state_size=state, tie_word_embeddings=True,
        time_step_floor=0.0001, time_step_limit=[0.0, math.inf], time_step_max=0.1,
        time_step_min=0.001, time_step_rank=8, use_bias=False, use_conv_bias=True, **UNKNOWN,
    )  # fmt: skip
    return config, weights
