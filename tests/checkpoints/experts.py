"""Mixtures of experts."""

from __future__ import annotations

import mlx.core as mx

from tests.checkpoints.common import (
    BLOCK_NORMS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    QKV,
    VOCABULARY,
    Checkpoint,
    Weights,
    attention,
    ends,
    fields,
    mlp,
    norms,
    random,
)


def mixtral() -> Checkpoint:
    """Experts in separate tensors, stacked by sanitize."""
    weights = ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix) | norms(prefix, *BLOCK_NORMS)
        weights |= _block_sparse_moe(prefix)
    config = fields(
        "mixtral", architectures=["MixtralForCausalLM"], head_dim=None, attention_dropout=0.0,
        num_local_experts=EXPERTS, num_experts_per_tok=2, output_router_logits=False,
        router_aux_loss_coef=0.02, rope_theta=1e6,
    )  # fmt: skip
    return config | {"sliding_window": None}, weights


def phimoe() -> Checkpoint:
    """Phi-3.5-MoE: biases everywhere but on experts; upstream has no rule for its router."""
    weights = ends() | {"model.norm.bias": random(HIDDEN), "lm_head.bias": random(VOCABULARY)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix, biases=(*QKV, "o_proj")) | norms(prefix, *BLOCK_NORMS)
        weights |= {f"{prefix}{name}.bias": random(HIDDEN) for name in BLOCK_NORMS}
        weights |= _block_sparse_moe(prefix, inner=HIDDEN)
    factors = {"long_factor": [1.0 + n / 16 for n in range(16)], "short_factor": [1.0] * 16}
    scaling = {
        "type": "longrope", **factors, "short_mscale": 1.243163121016122,
        "long_mscale": 1.243163121016122, "original_max_position_embeddings": 4096,
    }  # fmt: skip
    config = fields(
        "phimoe", architectures=["PhiMoEForCausalLM"], head_dim=None, attention_bias=True,
        attention_dropout=0.0, hidden_dropout=0.0, intermediate_size=HIDDEN, lm_head_bias=True,
        num_local_experts=EXPERTS, num_experts_per_tok=2, router_jitter_noise=0.01,
        input_jitter_noise=0.01, output_router_logits=False, router_aux_loss_coef=0.0,
        rope_scaling=scaling, max_position_embeddings=131072, sliding_window=131072,
        original_max_position_embeddings=4096,
    )  # fmt: skip
    return config, weights


def _block_sparse_moe(prefix: str, inner: int = 2 * HIDDEN) -> Weights:
    moe = f"{prefix}block_sparse_moe."
    weights = {f"{moe}gate.weight": random(EXPERTS, HIDDEN)}
    for expert in range(EXPERTS):
        weights |= mlp(f"{moe}experts.{expert}.", ("w1", "w3", "w2"), inner)
    return weights


def qwen3_moe() -> Checkpoint:
    """The architecture protects its router itself."""
    weights = ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix) | norms(prefix, *BLOCK_NORMS)
        weights |= norms(f"{prefix}self_attn.", "q_norm", "k_norm", size=32)
        weights[f"{prefix}mlp.gate.weight"] = random(EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            weights |= mlp(f"{prefix}mlp.experts.{expert}.", inner=HIDDEN)
    config = fields(
        "qwen3_moe", architectures=["Qwen3MoeForCausalLM"], moe_intermediate_size=HIDDEN,
        num_experts=EXPERTS, num_experts_per_tok=2, decoder_sparse_step=1, mlp_only_layers=[],
        norm_topk_prob=True, output_router_logits=False, router_aux_loss_coef=0.001,
        attention_bias=False, attention_dropout=0.0, max_window_layers=LAYERS,
        use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1e6,
    )  # fmt: skip
    return config, weights


def deepseek_v3() -> Checkpoint:
    """Latent attention, whose projection sanitize splits and transposes; experts beside shared."""
    rank, rope, nope, value, heads = 64, 32, 64, 64, 4
    weights = ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        latent = {
            "q_a_proj": (64, HIDDEN), "q_b_proj": (heads * (nope + rope), 64),
            "kv_a_proj_with_mqa": (rank + rope, HIDDEN),
            "kv_b_proj": (heads * (nope + value), rank), "o_proj": (HIDDEN, heads * value),
        }  # fmt: skip
        for name, shape in latent.items():
            weights[f"{prefix}self_attn.{name}.weight"] = random(*shape)
        for name, size in (("q_a_layernorm", 64), ("kv_a_layernorm", rank)):
            weights[f"{prefix}self_attn.{name}.weight"] = 1 + random(size)
        weights |= norms(prefix, *BLOCK_NORMS)
        if layer == 0:
            weights |= mlp(f"{prefix}mlp.")
            continue
        weights[f"{prefix}mlp.gate.weight"] = random(EXPERTS, HIDDEN)
        weights[f"{prefix}mlp.gate.e_score_correction_bias"] = random(EXPERTS).astype(mx.float32)
        for expert in range(EXPERTS):
            weights |= mlp(f"{prefix}mlp.experts.{expert}.", inner=192)
        weights |= mlp(f"{prefix}mlp.shared_experts.", inner=192)
    config = fields(
        "deepseek_v3", architectures=["DeepseekV3ForCausalLM"], attention_bias=False,
        attention_dropout=0.0, ep_size=1, first_k_dense_replace=1, head_dim=None,
        kv_lora_rank=rank, moe_intermediate_size=192, moe_layer_freq=1, n_group=2,
        n_routed_experts=EXPERTS, n_shared_experts=1, norm_topk_prob=True, num_experts_per_tok=2,
        num_key_value_heads=heads, q_lora_rank=64, qk_nope_head_dim=nope, qk_rope_head_dim=rope,
        routed_scaling_factor=1.0, scoring_func="sigmoid", topk_group=1, topk_method="noaux_tc",
        v_head_dim=value,
    )  # fmt: skip
    return config, weights
