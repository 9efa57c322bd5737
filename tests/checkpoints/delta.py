"""Hybrids of gated delta nets and gated attention."""

from __future__ import annotations

from typing import Any

from tests.checkpoints.common import (
    BLOCK_NORMS,
    EXPERTS,
    HIDDEN,
    INNER,
    LAYERS,
    PROJECTIONS,
    VOCABULARY,
    Checkpoint,
    Weights,
    mlp,
    norms,
    random,
)
from tests.checkpoints.parts import config, experts, float32, matrices, tied_ends

KEYS, VALUES, WIDTH, KERNEL = 2, 4, 32, 4
KEY, VALUE = KEYS * WIDTH, VALUES * WIDTH
EXPERT_INNER = 64
FIELDS = {
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6,
    "linear_num_key_heads": KEYS, "linear_num_value_heads": VALUES, "linear_key_head_dim": WIDTH,
    "linear_value_head_dim": WIDTH, "linear_conv_kernel_dim": KERNEL, "full_attention_interval": 2,
    "attention_bias": False, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
EXPERT_FIELDS = {
    "num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT_INNER,
    "shared_expert_intermediate_size": EXPERT_INNER,
}  # fmt: skip


def _delta(prefix: str, **projections: tuple[int, int]) -> Weights:
    weights = matrices(prefix, **projections, out_proj=(HIDDEN, VALUE))
    weights[f"{prefix}conv1d.weight"] = random(2 * KEY + VALUE, 1, KERNEL)
    weights[f"{prefix}A_log"] = float32(VALUES)
    weights[f"{prefix}dt_bias"] = random(VALUES)
    weights[f"{prefix}norm.weight"] = 1 + float32(WIDTH)
    return weights


def _attention(prefix: str) -> Weights:
    """Queries come with a gate for the output."""
    weights = matrices(
        f"{prefix}self_attn.", q_proj=(2 * HIDDEN, HIDDEN), k_proj=(HIDDEN // 2, HIDDEN),
        v_proj=(HIDDEN // 2, HIDDEN), o_proj=(HIDDEN, HIDDEN),
    )  # fmt: skip
    return weights | {f"{prefix}self_attn.{name}.weight": random(32) for name in
                      ("q_norm", "k_norm")}  # fmt: skip


def _norms(prefix: str, *names: str) -> Weights:
    """Counting from one."""
    return {name: value - 1 for name, value in norms(prefix, *names).items()}


def _shared_expert(prefix: str) -> Weights:
    weights = matrices(prefix, gate=(EXPERTS, HIDDEN), shared_expert_gate=(1, HIDDEN))
    return weights | mlp(f"{prefix}shared_expert.", PROJECTIONS, EXPERT_INNER)


def _second_token() -> Weights:
    """The layers that predict a second token, which mlx_lm leaves out."""
    weights = matrices("mtp.", fc=(HIDDEN, 2 * HIDDEN)) | _attention("mtp.layers.0.")
    weights |= mlp("mtp.layers.0.mlp.", PROJECTIONS) | _norms("mtp.layers.0.", *BLOCK_NORMS)
    return weights | _norms("mtp.", "norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")


def _ends(inside: str) -> Weights:
    weights = tied_ends(inside)
    weights[f"{inside}norm.weight"] -= 1
    return weights | {"lm_head.weight": random(VOCABULARY, HIDDEN)}


def qwen3_next() -> Checkpoint:
    """Queries, keys, values and gate of the delta net in one projection; experts one by one."""
    weights = _ends("model.") | _second_token()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= _norms(prefix, *BLOCK_NORMS) | _shared_expert(f"{prefix}mlp.")
        weights |= experts(f"{prefix}mlp.", EXPERTS, EXPERT_INNER)
        if layer % 2:
            weights |= _attention(prefix)
            continue
        weights |= _delta(
            f"{prefix}linear_attn.", in_proj_qkvz=(2 * KEY + 2 * VALUE, HIDDEN),
            in_proj_ba=(2 * VALUES, HIDDEN),
        )  # fmt: skip
    fields = config(
        "qwen3_next", "Qwen3NextForCausalLM", **FIELDS, **EXPERT_FIELDS, intermediate_size=INNER,
        decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True, rope_theta=1e7,
        rope_scaling=None, partial_rotary_factor=0.25,
    )  # fmt: skip
    return fields, weights


def _conditional(model_type: str, architecture: str, **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25,
            "mrope_interleaved": True, "mrope_section": [2, 1, 1]}  # fmt: skip
    text = config(
        f"{model_type}_text", architecture, **FIELDS, **more, rope_parameters=rope,
        dtype="bfloat16", attn_output_gate=True, mamba_ssm_dtype="float32",
        layer_types=["linear_attention", "full_attention"], mtp_num_hidden_layers=1,
        mtp_use_dedicated_embeddings=False,
    )  # fmt: skip
    del text["torch_dtype"], text["architectures"]
    return {"architectures": [architecture], "model_type": model_type, "text_config": text,
            "tie_word_embeddings": False}  # fmt: skip


def _blocks() -> Weights:
    """All but the MLPs, with the names of a model that takes images too."""
    weights = _ends("model.language_model.") | _second_token()
    for layer in range(LAYERS):
        prefix = f"model.language_model.layers.{layer}."
        weights |= _norms(prefix, *BLOCK_NORMS)
        if layer % 2:
            weights |= _attention(prefix)
            continue
        weights |= _delta(
            f"{prefix}linear_attn.", in_proj_qkv=(2 * KEY + VALUE, HIDDEN),
            in_proj_z=(VALUE, HIDDEN), in_proj_a=(VALUES, HIDDEN), in_proj_b=(VALUES, HIDDEN),
        )  # fmt: skip
    return weights


def qwen3_5() -> Checkpoint:
    """The language side: a projection for each input of the delta net, dense MLPs."""
    weights = _blocks()
    for layer in range(LAYERS):
        weights |= mlp(f"model.language_model.layers.{layer}.mlp.", PROJECTIONS)
    architecture = "Qwen3_5ForConditionalGeneration"
    return _conditional("qwen3_5", architecture, intermediate_size=INNER), weights


def qwen3_5_moe() -> Checkpoint:
    """The same with experts, all of them in two tensors."""
    weights = _blocks()
    for layer in range(LAYERS):
        prefix = f"model.language_model.layers.{layer}.mlp."
        weights |= _shared_expert(prefix)
        weights[f"{prefix}experts.gate_up_proj"] = random(EXPERTS, 2 * EXPERT_INNER, HIDDEN)
        weights[f"{prefix}experts.down_proj"] = random(EXPERTS, HIDDEN, EXPERT_INNER)
    architecture = "Qwen3_5MoeForConditionalGeneration"
    return _conditional("qwen3_5_moe", architecture, **EXPERT_FIELDS), weights
