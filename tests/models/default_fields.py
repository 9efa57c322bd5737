"""Plausible small values for the fields of model configurations, by the fields' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["COUNTS", "DECLARED", "FIELDS", "LAYERS", "OFTEN_NEEDED", "TOWER", "Fields"]

Fields = Mapping[str, Any]

LAYERS = 4
KINDS = ["sliding_attention", "full_attention"] * 2
CONVOLUTIONS = ["conv", "full_attention"] * 2
PLAIN_ROPE = {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 1.0}
ROPE = PLAIN_ROPE | {
    "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 4096,
    "full_attention": PLAIN_ROPE, "sliding_attention": PLAIN_ROPE,
}  # fmt: skip

COUNTS = (
    "num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_transformer_layers", "depth",
    "encoder_layers", "decoder_layers",
)  # fmt: skip
"""How many layers: small even where there is a default."""

FIELDS: Fields = dict.fromkeys(COUNTS, LAYERS) | {
    "hidden_size": 128, "d_model": 128, "n_embd": 128, "model_dim": 128, "embed_dim": 128,
    "intermediate_size": 256, "hidden_dim": 256, "ffn_hidden_size": 256,
    "intermediate_size_mlp": 256, "moe_intermediate_size": 64, "shared_intermediate_size": 64,
    "shared_expert_intermediate_size": 64, "moe_shared_expert_intermediate_size": 64,
    "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2,
    "swa_num_attention_heads": 4, "head_dim": 32, "v_head_dim": 32, "swa_head_dim": 32,
    "swa_v_head_dim": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "kv_lora_rank": 32,
    "q_lora_rank": 32, "index_head_dim": 32, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_conv_kernel_dim": 4,
    "mamba_d_head": 32, "mamba_head_dim": 32, "mamba_n_heads": 8, "mamba_num_heads": 8,
    "ssm_state_size": 16, "state_size": 16, "mamba_d_state": 16, "n_groups": 1, "n_group": 1,
    "topk_group": 1, "block_dim": 128, "block_ff_dim": 256, "time_step_limit": (0.0, 1e9),
    "vocab_size": 512, "embedding_size": 512, "vocab_size_per_layer_input": 512,
    "hidden_size_per_layer_input": 32, "num_kv_shared_layers": 1, "num_kv_reuse_layers": 1,
    "max_position_embeddings": 4096, "image_size": 56, "patch_size": 14, "sliding_window": 64,
    "rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5, "norm_eps": 1e-5, "layernorm_epsilon": 1e-5,
    "rope_theta": 1e4, "layer_rope_theta": [1e4] * LAYERS, "partial_rotary_factor": 1.0,
    "rope_scaling": None, "rope_parameters": ROPE, "layer_types": KINDS, "mlp_only_layers": [],
    "activation_sparsity_pattern": [0.0] * LAYERS, "hybrid_layer_pattern": [0, 1] * 2,
    "sliding_window_layers": [1, 3], "no_rope_layers": [1, 1, 1, 0], "hidden_act": "silu",
    "decoder_sparse_step": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
    "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 4, "n_routed_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2, "mamba_d_conv": 4,
    "mamba_n_groups": 1, "mamba_proj_bias": False, "mamba_conv_bias": True,
}  # fmt: skip

OFTEN_NEEDED = (
    "head_dim", "rope_parameters", "num_experts", "n_routed_experts", "num_local_experts",
    "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size",
    "shared_intermediate_size", "moe_topk", "moe_shared_expert_intermediate_size",
    "mamba_n_heads", "mamba_d_head", "mamba_d_state", "mamba_d_conv", "mamba_n_groups",
    "mamba_proj_bias", "mamba_conv_bias",
)  # fmt: skip
"""Fields that are filled although they default to None or 0: nothing is made of that, or no
experts."""

TOWER = "siglip_vision_model"
"""The kind of tower where a vision configuration has to say one."""

LONGROPE = {
    "type": "longrope", "factor": 2.0, "short_factor": [1.0] * 16, "long_factor": [1.0] * 16,
    "original_max_position_embeddings": 4096,
}  # fmt: skip
LATENT = {"v_head_dim": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "kv_lora_rank": 32}
DELTA = {
    "linear_attn_config": {
        "kda_layers": [1, 3], "full_attn_layers": [2, 4], "num_heads": 4, "head_dim": 32,
        "short_conv_kernel_size": 4,
    },
}  # fmt: skip
BLOCK = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 2.0}}


def _alike(names: str, fields: Fields) -> dict[str, Fields]:
    return dict.fromkeys(names.split(), fields)


DECLARED: Mapping[str, Fields] = {
    **_alike("d1 lfm2_colbert lfm2_embedding lfm2_encoder lfm2_moe lfm2_vl",
             {"layer_types": CONVOLUTIONS}),
    **_alike("lfm2 lfm2-vl", {"layer_types": CONVOLUTIONS, "intermediate_size": 256}),
    **_alike("deepseek_vl_v2 deepseekocr deepseekocr_2 unlimited_ocr",
             {"vision_config": {"model_type": "vision"}}),
    **_alike("gemma4 gemma4_text", {"num_kv_shared_layers": 1, "layer_types": KINDS}),
    **_alike("kimi_k3 kimi_linear", DELTA | LATENT),
    **_alike("nemotron_h nemotron_h_nano_omni", {"hybrid_override_pattern": ["M", "*", "-", "E"]}),
    **_alike("nemotron-nas nemotron_nas", {"block_configs": [BLOCK] * LAYERS}),
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 256, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
    },
    "deepseek_v2": {"rope_scaling": {"type": "yarn", "factor": 40.0}},
    "exaone_moe": {"is_moe_layer": [False, True] * 2},
    "gemma3n": {"layer_types": KINDS, "activation_sparsity_pattern": [0.0] * LAYERS},
    "mlx_vlm:gemma3n": {"intermediate_size": [256] * LAYERS},
    "glm_moe_dsa": {"topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    "glm4v": {"eos_token_id": [0], "vision_config": {"model_type": "glm4v"}},
    "glm4v_moe": {"vision_config": {"model_type": "glm4v_moe"}},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "hunyuan": {
        "cla_share_factor": 2, "rope_scaling": {"type": "dynamic", "alpha": 1.0, "factor": 1.0},
    },
    "idefics2": {"vision_config": {"model_type": "idefics2"}},
    "llama4": {"num_experts_per_tok": 1, "vision_config": {"model_type": "llama4"}},
    "llava": {"text_config": {"model_type": "llama"}},
    "llava_bunny": {"auto_map": {}},
    "llava_next": {
        "text_config": {"model_type": "llama"},
        "vision_config": {"model_type": "clip_vision_model"},
    },
    "mamba2": {"time_step_rank": "auto"},
    "mellum": {"rope_parameters": ROPE},
    "mimo_v2": {"hybrid_layer_pattern": [0, 1] * 2, "moe_layer_freq": [0, 1] * 2},
    "mimo_v2_flash": {
        "moe_layer_freq": [0, 1] * 2, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
    },
    "minicpm3": {"rope_scaling": LONGROPE},
    "molmo_point": {"adapter_config": {}},
    "multi_modality": {
        "text_config": {"model_type": "llama"},
        "vision_config": {"model_type": "vision", "params": {}},
        "projector_config": {"params": {"projector_type": "mlp_gelu", "depth": 2}},
    },
    "muse_spark": {"audio_config": {"out_hidden_size": 128}},
    "openelm": {
        "num_query_heads": [4] * LAYERS, "num_kv_heads": [2] * LAYERS,
        "ffn_multipliers": [2.0] * LAYERS,
    },
    "paddleocr_vl": {"head_dim": 32},
    "phi3_v": {"num_key_value_heads": 32},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
}  # fmt: skip
"""Fields that their names do not tell, by architecture; where its two libraries differ, by
"library:architecture"."""
