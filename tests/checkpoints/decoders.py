"""Dense decoders that differ from llama in their norms, heads or positions."""

from __future__ import annotations

from tests.checkpoints.common import (
    BLOCK_NORMS,
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
from tests.checkpoints.parts import config, scales, tied_ends

AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
"""The norms of blocks that normalize what comes out of a layer."""

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": INNER}
SLIDING = ["sliding_attention", "full_attention"]


def _blocks(*names: str) -> Weights:
    """Attention and MLP in each block, with the norms of these names."""
    weights: Weights = {}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix) | mlp(f"{prefix}mlp.", PROJECTIONS) | norms(prefix, *names)
    return weights


def _head() -> Weights:
    return {"lm_head.weight": random(VOCABULARY, HIDDEN)}


def _query_norms(queries: int, keys: int) -> Weights:
    weights: Weights = {}
    for layer in range(LAYERS):
        weights |= scales(f"model.layers.{layer}.self_attn.", q_norm=queries, k_norm=keys)
    return weights


def gemma2() -> Checkpoint:
    """Tied; four norms in a block, counting from one; logits capped twice."""
    weights = tied_ends() | _blocks(*BLOCK_NORMS, "pre_feedforward_layernorm", AFTER[1])
    weights = {name: value - 1 if "norm" in name else value for name, value in weights.items()}
    fields = config(
        "gemma2", "Gemma2ForCausalLM", **HEADS, head_dim=32, rms_norm_eps=1e-6, rope_theta=1e4,
        attention_bias=False, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
        query_pre_attn_scalar=32, sliding_window=64, cache_implementation="hybrid",
        hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh",
    )  # fmt: skip
    return fields, weights


def olmo2() -> Checkpoint:
    """Norms after attention and MLP alone, and over all queries and keys at once."""
    weights = tied_ends() | _head() | _blocks(*AFTER) | _query_norms(HIDDEN, HIDDEN // 2)
    fields = config(
        "olmo2", "Olmo2ForCausalLM", **HEADS, rms_norm_eps=1e-6, rope_theta=5e5, rope_scaling=None,
        attention_bias=False, hidden_act="silu", tie_word_embeddings=False,
    )  # fmt: skip
    return fields, weights


def olmo3() -> Checkpoint:
    """olmo2's blocks, every other one with a sliding window."""
    fields, weights = olmo2()
    scaling = {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.2079441541679836,
               "beta_fast": 32.0, "beta_slow": 1.0,
               "original_max_position_embeddings": 512}  # fmt: skip
    own = {"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"], "layer_types": SLIDING,
           "sliding_window": 64, "rope_scaling": scaling}  # fmt: skip
    return fields | own, weights


def cohere2() -> Checkpoint:
    """One norm for attention and MLP, side by side; tied without a word in the config."""
    fields = config(
        "cohere2", "Cohere2ForCausalLM", **HEADS, head_dim=32, layer_norm_eps=1e-5,
        logit_scale=0.25, rope_theta=5e4, attention_bias=False, sliding_window=64,
        sliding_window_pattern=2, order_of_interleaved_layers="local_attn_first",
        position_embedding_type="rope_gptj", rotary_pct=1.0, use_embedding_sharing=True,
        use_gated_activation=True, use_parallel_block=True, use_parallel_embedding=False,
        use_qk_norm=False, hidden_act="silu", cache_implementation="hybrid",
    )  # fmt: skip
    return fields, tied_ends() | _blocks("input_layernorm")


def smollm3() -> Checkpoint:
    """llama's blocks, some without positions."""
    fields = config(
        "smollm3", "SmolLM3ForCausalLM", **HEADS, rms_norm_eps=1e-6, rope_theta=5e6,
        rope_scaling=None, no_rope_layers=[1, 0], no_rope_layer_interval=2, sliding_window=None,
        use_sliding_window=False, layer_types=["full_attention"] * LAYERS, attention_bias=False,
        mlp_bias=False, hidden_act="silu", tie_word_embeddings=True,
    )  # fmt: skip
    return fields, tied_ends() | _blocks(*BLOCK_NORMS)


def exaone4() -> Checkpoint:
    """Norms after each layer, and of each head's queries and keys; windows by a pattern."""
    scaling = {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 512}  # fmt: skip
    fields = config(
        "exaone4", "Exaone4ForCausalLM", **HEADS, head_dim=32, rms_norm_eps=1e-5, rope_theta=1e6,
        rope_scaling=scaling, sliding_window=64, sliding_window_pattern="LG", layer_types=SLIDING,
        hidden_act="silu", tie_word_embeddings=False,
    )  # fmt: skip
    return fields, tied_ends() | _head() | _blocks(*AFTER) | _query_norms(32, 32)
