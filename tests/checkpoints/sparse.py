"""Mixtures of experts beside shared ones, after a first dense block."""

from __future__ import annotations

from tests.checkpoints.common import (
    BLOCK_NORMS,
    EXPERTS,
    HIDDEN,
    INNER,
    LAYERS,
    PROJECTIONS,
    Checkpoint,
    Weights,
    attention,
    ends,
    mlp,
    norms,
    random,
)
from tests.checkpoints.parts import config, experts, float32, matrices, scales

EXPERT_INNER = 192
ROUTING = {
    "n_routed_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT_INNER,
    "first_k_dense_replace": 1, "intermediate_size": INNER, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip


def _experts(prefix: str, shared: int) -> Weights:
    weights = {f"{prefix}mlp.gate.weight": random(EXPERTS, HIDDEN)}
    weights |= experts(f"{prefix}mlp.", EXPERTS, EXPERT_INNER)
    return weights | mlp(f"{prefix}mlp.shared_experts.", PROJECTIONS, shared * EXPERT_INNER)


def deepseek_v2() -> Checkpoint:
    """Latent attention with plain queries, as in the smaller of its kind."""
    rank, rope, nope, value, heads, shared = 64, 32, 64, 64, 4, 2
    weights = ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= norms(prefix, *BLOCK_NORMS)
        weights |= matrices(
            f"{prefix}self_attn.", q_proj=(heads * (nope + rope), HIDDEN),
            kv_a_proj_with_mqa=(rank + rope, HIDDEN), kv_b_proj=(heads * (nope + value), rank),
            o_proj=(HIDDEN, heads * value),
        )  # fmt: skip
        weights |= scales(f"{prefix}self_attn.", kv_a_layernorm=rank)
        weights |= mlp(f"{prefix}mlp.", PROJECTIONS) if layer == 0 else _experts(prefix, shared)
    fields = config(
        "deepseek_v2", "DeepseekV2ForCausalLM", **ROUTING, n_shared_experts=shared,
        num_attention_heads=heads, num_key_value_heads=heads, q_lora_rank=None,
        kv_lora_rank=rank, qk_nope_head_dim=nope, qk_rope_head_dim=rope, v_head_dim=value,
        moe_layer_freq=1, n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax",
        norm_topk_prob=False, routed_scaling_factor=1.0, rms_norm_eps=1e-6, rope_theta=1e4,
        attention_bias=False,
        rope_scaling={"type": "yarn", "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
                      "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 4096},
    )  # fmt: skip
    return fields, weights


def glm4_moe() -> Checkpoint:
    """Biases on queries, keys and values; the last layer only predicts a second token."""
    weights = ends()
    for layer in range(LAYERS + 1):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix) | norms(prefix, *BLOCK_NORMS)
        for name, rows in (("q_proj", HIDDEN), ("k_proj", HIDDEN // 2), ("v_proj", HIDDEN // 2)):
            weights[f"{prefix}self_attn.{name}.bias"] = random(rows)
        weights |= scales(f"{prefix}self_attn.", q_norm=32, k_norm=32)
        if layer == 0:
            weights |= mlp(f"{prefix}mlp.", PROJECTIONS)
            continue
        weights |= _experts(prefix, 1)
        weights[f"{prefix}mlp.gate.e_score_correction_bias"] = float32(EXPERTS)
    second = f"model.layers.{LAYERS}."
    weights |= matrices(second, eh_proj=(HIDDEN, 2 * HIDDEN))
    weights |= norms(second, "enorm", "hnorm", "shared_head.norm")
    for name in ("embed_tokens", "shared_head.head"):
        weights[f"{second}{name}.weight"] = weights["lm_head.weight"]
    fields = config(
        "glm4_moe", "Glm4MoeForCausalLM", **ROUTING, n_shared_experts=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, use_qk_norm=True, attention_bias=True,
        partial_rotary_factor=0.5, rope_theta=1e6, rope_scaling=None, rms_norm_eps=1e-5,
        n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
        num_nextn_predict_layers=1,
    )  # fmt: skip
    return fields, weights
