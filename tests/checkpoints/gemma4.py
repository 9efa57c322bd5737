"""gemma4's text models: the small ones, and the one with experts."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from tests.checkpoints.common import (
    BLOCK_NORMS,
    EXPERTS,
    HIDDEN,
    INNER,
    PROJECTIONS,
    VOCABULARY,
    Checkpoint,
    Weights,
    mlp,
    norms,
    random,
)
from tests.checkpoints.parts import config, matrices, scales, tied_ends

NORMS = (*BLOCK_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
EXPERT_NORMS = tuple(f"{name}_feedforward_layernorm_{number}"
                     for name, number in (("post", 1), ("post", 2), ("pre", 2)))  # fmt: skip
HEADS, WIDTH, GLOBAL_WIDTH, KEYS = 4, 32, 64, 2
ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25,
                       "rope_theta": 1e6},
}  # fmt: skip


def _block(prefix: str, kind: str, keys: int, values: bool, inner: int) -> Weights:
    """``keys``: how many heads they have; without ``values`` the keys are those too."""
    width = GLOBAL_WIDTH if kind == "full_attention" else WIDTH
    weights = matrices(
        f"{prefix}self_attn.", q_proj=(HEADS * width, HIDDEN), k_proj=(keys * width, HIDDEN),
        o_proj=(HIDDEN, HEADS * width),
    )  # fmt: skip
    if values:
        weights |= matrices(f"{prefix}self_attn.", v_proj=(keys * width, HIDDEN))
    weights |= scales(f"{prefix}self_attn.", q_norm=width, k_norm=width)
    weights |= mlp(f"{prefix}mlp.", PROJECTIONS, inner) | norms(prefix, *NORMS)
    return weights | {f"{prefix}layer_scalar": mx.ones(1, dtype=mx.bfloat16)}


def _fields(kinds: list[str], **more: Any) -> dict[str, Any]:
    plain = {
        "num_hidden_layers": len(kinds), "layer_types": kinds, "intermediate_size": INNER,
        "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "head_dim": WIDTH,
        "global_head_dim": GLOBAL_WIDTH, "rope_parameters": ROPE, "sliding_window": 64,
        "rms_norm_eps": 1e-6, "final_logit_softcapping": 30.0, "attention_bias": False,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
        "vocab_size_per_layer_input": VOCABULARY,
    }  # fmt: skip
    return config("gemma4_text", "Gemma4ForCausalLM", **plain | more)


def gemma4() -> Checkpoint:
    """The language side of the small ones: an embedding for each layer besides the first; later
    layers use the keys of earlier ones (theirs lie in the files all the same), and have MLPs
    twice as wide."""
    kinds, shared, each = ["sliding_attention", "full_attention"] * 2, 2, 64
    inside = "model.language_model."
    weights = tied_ends(inside)
    for layer, kind in enumerate(kinds):
        prefix = f"{inside}layers.{layer}."
        inner = INNER if layer < len(kinds) - shared else 2 * INNER
        weights |= _block(prefix, kind, KEYS, values=True, inner=inner)
        weights |= matrices(prefix, per_layer_input_gate=(each, HIDDEN),
                            per_layer_projection=(HIDDEN, each))  # fmt: skip
        weights |= norms(prefix, "post_per_layer_input_norm")
    weights |= matrices(inside, embed_tokens_per_layer=(VOCABULARY, len(kinds) * each),
                        per_layer_model_projection=(len(kinds) * each, HIDDEN))  # fmt: skip
    weights |= scales(inside, per_layer_projection_norm=each)
    weights |= matrices("model.embed_vision.", embedding_projection=(HIDDEN, HIDDEN))
    text = _fields(
        kinds, num_kv_shared_layers=shared, hidden_size_per_layer_input=each,
        attention_k_eq_v=False, use_double_wide_mlp=True, enable_moe_block=False,
        num_global_key_value_heads=None, num_experts=None, top_k_experts=None,
        moe_intermediate_size=None, dtype="bfloat16",
    )  # fmt: skip
    del text["torch_dtype"], text["architectures"]
    fields = {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4",
        "dtype": "bfloat16", "text_config": text, "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,  # where it is not said, mlx_lm takes that of the real ones
    }  # fmt: skip
    return fields, weights


def gemma4_text() -> Checkpoint:
    """Experts beside an MLP in each block, gate and up in one tensor; keys that are values too."""
    kinds, inner = ["sliding_attention", "full_attention"], 64
    weights = tied_ends()
    for layer, kind in enumerate(kinds):
        prefix = f"model.layers.{layer}."
        everywhere = kind == "full_attention"
        keys = 1 if everywhere else KEYS
        weights |= _block(prefix, kind, keys, values=not everywhere, inner=INNER)
        weights |= norms(prefix, *EXPERT_NORMS) | matrices(
            f"{prefix}router.", proj=(EXPERTS, HIDDEN)
        )
        weights[f"{prefix}router.scale"] = 1 + random(HIDDEN)
        weights[f"{prefix}router.per_expert_scale"] = 1 + random(EXPERTS)
        weights[f"{prefix}experts.gate_up_proj"] = random(EXPERTS, 2 * inner, HIDDEN)
        weights[f"{prefix}experts.down_proj"] = random(EXPERTS, HIDDEN, inner)
    fields = _fields(
        kinds, num_kv_shared_layers=0, hidden_size_per_layer_input=0, attention_k_eq_v=True,
        use_double_wide_mlp=False, enable_moe_block=True, num_global_key_value_heads=1,
        num_experts=EXPERTS, top_k_experts=2, moe_intermediate_size=inner,
    )  # fmt: skip
    return fields, weights
