"""Hybrids of attention with state-space layers or short convolutions."""

from __future__ import annotations

import math

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
    attention,
    mlp,
    norms,
    random,
)
from tests.checkpoints.parts import config, experts, float32, matrices, scales, tied_ends

MAMBA_HEADS, MAMBA_WIDTH, STATE, KERNEL = 8, 32, 32, 4
MAMBA_INNER = MAMBA_HEADS * MAMBA_WIDTH
MIXED = MAMBA_INNER + 2 * STATE
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def _mamba2(prefix: str, norm: bool = True) -> Weights:
    """One group; the convolution has its axes in torch's order."""
    weights = matrices(prefix, in_proj=(MAMBA_INNER + MIXED + MAMBA_HEADS, HIDDEN),
                       out_proj=(HIDDEN, MAMBA_INNER), conv1d=(MIXED, 1, KERNEL))  # fmt: skip
    weights[f"{prefix}conv1d.bias"] = random(MIXED)
    weights |= {f"{prefix}{name}": random(MAMBA_HEADS) for name in ("A_log", "D", "dt_bias")}
    return weights | (scales(prefix, norm=MAMBA_INNER) if norm else {})


def granitemoehybrid() -> Checkpoint:
    """Experts beside a shared MLP in each block, all of them in two tensors; tied."""
    shared, inner = 192, 64
    weights = tied_ends()
    for layer, kind in enumerate(("mamba", "attention")):
        prefix = f"model.layers.{layer}."
        weights |= _mamba2(f"{prefix}mamba.") if kind == "mamba" else attention(prefix)
        weights |= norms(prefix, *BLOCK_NORMS)
        weights |= matrices(
            f"{prefix}block_sparse_moe.", input_linear=(EXPERTS, 2 * inner, HIDDEN),
            output_linear=(EXPERTS, HIDDEN, inner),
        )  # fmt: skip
        weights |= matrices(f"{prefix}block_sparse_moe.router.", layer=(EXPERTS, HIDDEN))
        weights |= matrices(f"{prefix}shared_mlp.", input_linear=(2 * shared, HIDDEN),
                            output_linear=(HIDDEN, shared))  # fmt: skip
    fields = config(
        "granitemoehybrid", "GraniteMoeHybridForCausalLM", **HEADS, intermediate_size=inner,
        shared_intermediate_size=shared, num_local_experts=EXPERTS, num_experts_per_tok=2,
        layer_types=["mamba", "attention"], position_embedding_type="nope", rope_scaling=None,
        rope_theta=10000, rms_norm_eps=1e-5, normalization_function="rmsnorm",
        attention_bias=False, attention_multiplier=0.03125, embedding_multiplier=12,
        logits_scaling=6, residual_multiplier=0.22, hidden_act="silu", mamba_chunk_size=256,
        mamba_conv_bias=True, mamba_d_conv=KERNEL, mamba_d_head=MAMBA_WIDTH, mamba_d_state=STATE,
        mamba_expand=2, mamba_n_groups=1, mamba_n_heads=MAMBA_HEADS, mamba_proj_bias=False,
        tie_word_embeddings=True,
    )  # fmt: skip
    return fields, weights


def granitemoehybrid_dense() -> Checkpoint:
    """Without experts: the shared MLP is the block's own, which sanitize splits."""
    fields, weights = granitemoehybrid()
    own = {"num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": 192}
    return fields | own, {k: v for k, v in weights.items() if "block_sparse_moe" not in k}


def jamba() -> Checkpoint:
    """The first mamba, with norms of its own; experts one by one in every other block."""
    inner, state, rank = 2 * HIDDEN, 16, 64
    weights = tied_ends(norm="final_layernorm") | {"lm_head.weight": random(VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= norms(prefix, "input_layernorm", "pre_ff_layernorm")
        if layer % 2:
            weights |= attention(prefix) | experts(f"{prefix}feed_forward.", EXPERTS, INNER)
            weights |= matrices(f"{prefix}feed_forward.", router=(EXPERTS, HIDDEN))
            continue
        weights |= mlp(f"{prefix}feed_forward.", PROJECTIONS)
        weights |= matrices(
            f"{prefix}mamba.", in_proj=(2 * inner, HIDDEN), out_proj=(HIDDEN, inner),
            x_proj=(rank + 2 * state, inner), dt_proj=(inner, rank), conv1d=(inner, 1, KERNEL),
        )  # fmt: skip
        weights |= scales(f"{prefix}mamba.", dt_layernorm=rank, b_layernorm=state,
                          c_layernorm=state)  # fmt: skip
        for name in ("conv1d.bias", "dt_proj.bias", "D"):
            weights[f"{prefix}mamba.{name}"] = random(inner)
        weights[f"{prefix}mamba.A_log"] = random(inner, state)
    fields = config(
        "jamba", "JambaForCausalLM", **HEADS, intermediate_size=INNER, attn_layer_offset=1,
        attn_layer_period=2, expert_layer_offset=1, expert_layer_period=2, num_experts=EXPERTS,
        num_experts_per_tok=2, mamba_d_conv=KERNEL, mamba_d_state=state, mamba_dt_rank=rank,
        mamba_expand=2, mamba_conv_bias=True, mamba_proj_bias=False, use_mamba_kernels=True,
        rms_norm_eps=1e-6, hidden_act="silu", sliding_window=None, tie_word_embeddings=False,
    )  # fmt: skip
    return fields, weights


def falcon_h1() -> Checkpoint:
    """Attention and mamba side by side in each block; sanitize multiplies constants in."""
    weights = tied_ends(norm="final_layernorm") | {"lm_head.weight": random(VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix) | _mamba2(f"{prefix}mamba.", norm=False)
        weights |= mlp(f"{prefix}feed_forward.", PROJECTIONS)
        weights |= norms(prefix, "input_layernorm", "pre_ff_layernorm")
    third = 0.3535533905932738
    fields = config(
        "falcon_h1", "FalconH1ForCausalLM", **HEADS, intermediate_size=INNER, head_dim=32,
        attention_bias=False, attention_in_multiplier=1.0, attention_out_multiplier=0.9375,
        embedding_multiplier=5.656854249492381, key_multiplier=0.390625,
        lm_head_multiplier=0.0390625, mlp_multipliers=[0.8838834764831844, 0.5859375],
        ssm_in_multiplier=1.25, ssm_multipliers=[third, 0.25, third, 0.5, third],
        ssm_out_multiplier=0.23570226039551587, mamba_chunk_size=128, mamba_conv_bias=True,
        mamba_d_conv=KERNEL, mamba_d_head=MAMBA_WIDTH, mamba_d_ssm=MAMBA_INNER,
        mamba_d_state=STATE, mamba_expand=2, mamba_n_groups=1, mamba_n_heads=MAMBA_HEADS,
        mamba_norm_before_gate=False, mamba_proj_bias=False, mamba_rms_norm=False,
        mamba_use_mlp=True, mlp_bias=False, mlp_expansion_factor=8, projectors_bias=False,
        rms_norm_eps=1e-5, rope_scaling=None, rope_theta=100000000000.0, hidden_act="silu",
        tie_word_embeddings=False,
    )  # fmt: skip
    return fields, weights


def nemotron_h() -> Checkpoint:
    """One mixer to a block, by a pattern: mamba, MLP, attention, experts beside a shared one, which
    see less than all of the hidden state."""
    inner, shared, latent = 192, 256, 64
    weights = {
        "backbone.embeddings.weight": random(VOCABULARY, HIDDEN),
        "backbone.norm_f.weight": 1 + random(HIDDEN),
        "lm_head.weight": random(VOCABULARY, HIDDEN),
    }
    for layer, kind in enumerate("M-*E"):
        prefix = f"backbone.layers.{layer}."
        mixer = f"{prefix}mixer."
        weights |= norms(prefix, "norm")
        if kind == "M":
            weights |= _mamba2(mixer)
            weights |= {f"{mixer}{name}": float32(MAMBA_HEADS) for name in ("A_log", "D")}
        elif kind == "-":
            weights |= matrices(mixer, up_proj=(INNER, HIDDEN), down_proj=(HIDDEN, INNER))
        elif kind == "*":
            found = attention("")
            weights |= {name.replace("self_attn.", mixer): found[name] for name in found}
        else:
            weights |= matrices(mixer, gate=(EXPERTS, HIDDEN), fc1_latent_proj=(latent, HIDDEN),
                                fc2_latent_proj=(HIDDEN, latent))  # fmt: skip
            weights[f"{mixer}gate.e_score_correction_bias"] = float32(EXPERTS)
            weights |= matrices(f"{mixer}shared_experts.", up_proj=(shared, HIDDEN),
                                down_proj=(HIDDEN, shared))  # fmt: skip
            for expert in range(EXPERTS):
                weights |= matrices(f"{mixer}experts.{expert}.", up_proj=(inner, latent),
                                    down_proj=(latent, inner))  # fmt: skip
    fields = config(
        "nemotron_h", "NemotronHForCausalLM", **HEADS, num_hidden_layers=4,
        hybrid_override_pattern="M-*E", intermediate_size=INNER, head_dim=32,
        attention_bias=False, mlp_bias=False, mlp_hidden_act="relu2", use_bias=False,
        mamba_num_heads=MAMBA_HEADS, mamba_head_dim=MAMBA_WIDTH, mamba_proj_bias=False,
        mamba_hidden_act="silu", ssm_state_size=STATE, conv_kernel=KERNEL, use_conv_bias=True,
        n_groups=1, chunk_size=128, expand=2, time_step_limit=[0.0, math.inf],
        layer_norm_epsilon=1e-5, norm_eps=1e-5, moe_intermediate_size=inner, moe_latent_size=latent,
        moe_shared_expert_intermediate_size=shared, n_routed_experts=EXPERTS, n_shared_experts=1,
        num_experts_per_tok=2, n_group=1, topk_group=1, norm_topk_prob=True,
        routed_scaling_factor=2.5, residual_in_fp32=False, tie_word_embeddings=False,
    )  # fmt: skip
    return fields, weights


def lfm2() -> Checkpoint:
    """Short gated convolutions; the MLP is narrower than its config says."""
    weights = tied_ends(norm="embedding_norm")
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= norms(prefix, "operator_norm", "ffn_norm")
        weights |= mlp(f"{prefix}feed_forward.", ("w1", "w3", "w2"))
        if layer % 2:
            found = attention(prefix)
            weights |= {name.replace("o_proj", "out_proj"): found[name] for name in found}
            weights |= scales(f"{prefix}self_attn.", q_layernorm=32, k_layernorm=32)
            continue
        weights |= matrices(f"{prefix}conv.", conv=(HIDDEN, 1, 3), in_proj=(3 * HIDDEN, HIDDEN),
                            out_proj=(HIDDEN, HIDDEN))  # fmt: skip
    fields = config(
        "lfm2", "Lfm2ForCausalLM", **HEADS, num_heads=4, block_dim=HIDDEN, conv_dim=HIDDEN,
        block_ff_dim=3 * HIDDEN, block_multiple_of=256, block_ffn_dim_multiplier=1.0,
        block_auto_adjust_ff_dim=True, block_use_swiglu=True, block_norm_eps=1e-5, norm_eps=1e-5,
        conv_L_cache=3, conv_bias=False, full_attn_idxs=[1], rope_theta=1000000.0,
        tie_embedding=True, use_pos_enc=True,
    )  # fmt: skip
    return fields, weights
