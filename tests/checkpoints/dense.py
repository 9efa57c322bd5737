"""Dense decoders."""

from __future__ import annotations

from tests.checkpoints.common import (
    BLOCK_NORMS,
    HIDDEN,
    INNER,
    LAYERS,
    QKV,
    Checkpoint,
    Weights,
    attention,
    ends,
    fields,
    mlp,
    norms,
    random,
)


def blocks(width: int = 32, biases: tuple[str, ...] = (), tied: bool = False) -> Weights:
    """The decoder that most others are variations of."""
    weights = ends()
    if tied:
        del weights["lm_head.weight"]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= attention(prefix, width, biases) | mlp(f"{prefix}mlp.")
        weights |= norms(prefix, *BLOCK_NORMS)
    return weights


def with_head_norms(weights: Weights, width: int) -> Weights:
    names = [f"model.layers.{layer}.self_attn." for layer in range(LAYERS)]
    found = [norms(name, "q_norm", "k_norm", size=width) for name in names]
    return weights | {name: array for entry in found for name, array in entry.items()}


def llama() -> Checkpoint:
    scaling = {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3",
        "original_max_position_embeddings": 2048,
    }  # fmt: skip
    config = fields(
        "llama", architectures=["LlamaForCausalLM"], attention_bias=False, attention_dropout=0.0,
        mlp_bias=False, pretraining_tp=1, rope_scaling=scaling,
    )  # fmt: skip
    return config, blocks()


def qwen2() -> Checkpoint:
    """Biases on three projections, and embeddings that are the head as well."""
    config = fields(
        "qwen2", architectures=["Qwen2ForCausalLM"], head_dim=None, attention_dropout=0.0,
        max_window_layers=LAYERS, sliding_window=4096, use_sliding_window=False, rms_norm_eps=1e-6,
        rope_theta=1e6, tie_word_embeddings=True, use_mrope=False,
    )  # fmt: skip
    return config, blocks(biases=QKV, tied=True)


def qwen3() -> Checkpoint:
    """Heads wider than their share of the hidden size, and a norm on queries and keys."""
    config = fields(
        "qwen3", architectures=["Qwen3ForCausalLM"], head_dim=64, attention_bias=False,
        attention_dropout=0.0, max_window_layers=LAYERS, use_sliding_window=False,
        rms_norm_eps=1e-6, rope_theta=1e6,
    )  # fmt: skip
    return config, with_head_norms(blocks(width=64), 64)


def mistral() -> Checkpoint:
    """mlx_lm makes it a llama."""
    config = fields(
        "mistral", architectures=["MistralForCausalLM"], head_dim=None, attention_dropout=0.0,
        rope_theta=1e6,
    )  # fmt: skip
    return config | {"sliding_window": None}, blocks()


def ministral3() -> Checkpoint:
    """Its dtype and rope stand where newer configs have them."""
    rope = {
        "rope_type": "yarn", "type": "yarn", "rope_theta": 1e6, "factor": 16.0, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 256,
    }  # fmt: skip
    config = fields(
        "ministral3", architectures=["Ministral3ForCausalLM"], head_dim=64, attention_dropout=0.0,
        rope_theta=None, rope_parameters=rope, torch_dtype=None, dtype="bfloat16",
    )  # fmt: skip
    return config | {"sliding_window": None}, blocks(width=64)


def granite() -> Checkpoint:
    """Multipliers in four places; its own rule keeps some layers at eight bits."""
    config = fields(
        "granite", architectures=["GraniteForCausalLM"], head_dim=None, attention_bias=False,
        attention_dropout=0.1, attention_multiplier=0.03125, embedding_multiplier=12.0,
        logits_scaling=8.0, residual_multiplier=0.22, mlp_bias=False, tie_word_embeddings=True,
        rope_theta=1e7,
    )  # fmt: skip
    return config | {"rope_scaling": None}, blocks(tied=True)


def gemma3_text() -> Checkpoint:
    """Embeddings that are the head as well; norms that count from one."""
    weights = with_head_norms(blocks(tied=True), 32)
    for layer in range(LAYERS):
        names = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        weights |= norms(f"model.layers.{layer}.", *names)
    config = fields(
        "gemma3_text", architectures=["Gemma3ForCausalLM"], attention_bias=False,
        attention_dropout=0.0, cache_implementation="hybrid", hidden_act=None,
        hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=32, rope_theta=1e6,
        rope_local_base_freq=1e4, sliding_window=64, sliding_window_pattern=2, rms_norm_eps=1e-6,
        tie_word_embeddings=None,
    )  # fmt: skip
    return config, weights


def phi3() -> Checkpoint:
    """Fused projections, and factors for long and for short texts."""
    weights = ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[f"{prefix}self_attn.qkv_proj.weight"] = random(2 * HIDDEN, HIDDEN)
        weights[f"{prefix}self_attn.o_proj.weight"] = random(HIDDEN, HIDDEN)
        weights[f"{prefix}mlp.gate_up_proj.weight"] = random(2 * INNER, HIDDEN)
        weights[f"{prefix}mlp.down_proj.weight"] = random(HIDDEN, INNER)
        weights |= norms(prefix, *BLOCK_NORMS)
    factors = {"long_factor": [1.0 + n / 16 for n in range(16)], "short_factor": [1.0] * 16}
    config = fields(
        "phi3", architectures=["Phi3ForCausalLM"], head_dim=None, attention_bias=False,
        attention_dropout=0.0, embd_pdrop=0.0, resid_pdrop=0.0, sliding_window=4096,
        original_max_position_embeddings=2048, rope_scaling={"type": "longrope", **factors},
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return config, weights
