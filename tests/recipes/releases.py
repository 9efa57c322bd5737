"""The configurations of the models that our recipes are for, as they were released.

All fields and their values stand as in the release's ``config.json``; only the factors of long
contexts, one per pair of a head's dimensions, are not the trained numbers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RELEASES"]

Config = dict[str, Any]


def _released(architecture: str, model_type: str, transformers: str, **more: Any) -> Config:
    common = {
        "architectures": [architecture], "attention_dropout": 0.0, "hidden_act": "silu",
        "initializer_range": 0.02, "model_type": model_type, "torch_dtype": "bfloat16",
        "transformers_version": transformers, "use_cache": True,
    }  # fmt: skip
    return common | more


def _sizes(hidden: int, inner: int, layers: int, heads: int, shared: int, words: int) -> Config:
    return {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": shared, "vocab_size": words,
    }  # fmt: skip


def _longrope(pairs: int, **more: Any) -> Config:
    return {
        "rope_scaling": {
            "long_factor": [1.0 + n for n in range(pairs)], "short_factor": [1.0] * pairs,
            **{"type": "longrope"} | more,
        },
        "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
    }  # fmt: skip


def _code(name: str, model: str) -> Config:
    """Names of Python files that lie beside the weights; mlx_lm has no need of them."""
    return {
        "auto_map": {
            "AutoConfig": f"configuration_{name}.{model}Config",
            "AutoModelForCausalLM": f"modeling_{name}.{model}ForCausalLM",
        }
    }


PHI = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attention_bias": False, "rms_norm_eps": 1e-5}
QWEN = {"use_sliding_window": False, "rms_norm_eps": 1e-6}
WINDOWS = ["sliding_attention", "full_attention"]

RELEASES: dict[str, Config] = {
    "phi35-mini": _released(
        "Phi3ForCausalLM", "phi3", "4.43.3", **PHI, **_code("phi3", "Phi3"),
        **_sizes(3072, 8192, 32, 32, 32, 32064), **_longrope(48), bos_token_id=1,
        eos_token_id=32000, pad_token_id=32000, rope_theta=10000.0, sliding_window=262144,
        tie_word_embeddings=False,
    ),
    "phi35-moe": _released(
        "PhiMoEForCausalLM", "phimoe", "4.43.3", **_code("phimoe", "PhiMoE"),
        **_sizes(4096, 6400, 32, 32, 8, 32064), attention_bias=True, bos_token_id=1,
        **_longrope(64, short_mscale=1.243163121016122, long_mscale=1.243163121016122,
                    original_max_position_embeddings=4096),
        eos_token_id=32000, expert_dropout=0.0, hidden_dropout=0.0, input_jitter_noise=0.01,
        lm_head_bias=True, num_experts_per_tok=2, num_local_experts=16, output_router_logits=False,
        rms_norm_eps=1e-5, rope_theta=10000.0, router_aux_loss_coef=0.0, router_jitter_noise=0.01,
        sliding_window=131072, tie_word_embeddings=False,
    ),
    "phi4": _released(
        "Phi3ForCausalLM", "phi3", "4.47.0", **PHI, **_sizes(5120, 17920, 40, 40, 10, 100352),
        bos_token_id=100257, eos_token_id=100265, pad_token_id=100349,
        max_position_embeddings=16384, original_max_position_embeddings=16384, rope_scaling=None,
        rope_theta=250000, sliding_window=None, tie_word_embeddings=False,
    ),
    "phi4-mini": _released(
        "Phi3ForCausalLM", "phi3", "4.45.0", **PHI, **_code("phi3", "Phi3"),
        **_sizes(3072, 8192, 32, 24, 8, 200064), **_longrope(48), bos_token_id=199999,
        eos_token_id=199999, pad_token_id=199999, full_attn_mod=1, interpolate_factor=1,
        lm_head_bias=False, mlp_bias=False, partial_rotary_factor=0.75, rope_theta=10000.0,
        sliding_window=262144, tie_word_embeddings=True,
    ),
    "deepseek-r1-redistill-qwen-1.5b": _released(
        "Qwen2ForCausalLM", "qwen2", "4.48.0", **QWEN, **_sizes(1536, 8960, 28, 12, 2, 151936),
        bos_token_id=151643, eos_token_id=151643, max_position_embeddings=131072,
        max_window_layers=21, rope_scaling=None, rope_theta=10000, sliding_window=None,
        tie_word_embeddings=False, use_mrope=False,
    ),
    "qwen2.5-7b": _released(
        "Qwen2ForCausalLM", "qwen2", "4.43.1", **QWEN, **_sizes(3584, 18944, 28, 28, 4, 152064),
        bos_token_id=151643, eos_token_id=151645, max_position_embeddings=32768,
        max_window_layers=28, rope_theta=1000000.0, sliding_window=131072,
        tie_word_embeddings=False,
    ),
    "qwen3-8b": _released(
        "Qwen3ForCausalLM", "qwen3", "4.51.0", **QWEN, **_sizes(4096, 12288, 36, 32, 8, 151936),
        attention_bias=False, bos_token_id=151643, eos_token_id=151645, head_dim=128,
        max_position_embeddings=40960, max_window_layers=36, rope_scaling=None,
        rope_theta=1000000, sliding_window=None, tie_word_embeddings=False,
    ),
    "qwen3-30b-a3b": _released(
        "Qwen3MoeForCausalLM", "qwen3_moe", "4.51.0", **QWEN,
        **_sizes(2048, 6144, 48, 32, 4, 151936), attention_bias=False, bos_token_id=151643,
        decoder_sparse_step=1, eos_token_id=151645, head_dim=128, max_position_embeddings=40960,
        max_window_layers=48, mlp_only_layers=[], moe_intermediate_size=768, norm_topk_prob=True,
        num_experts=128, num_experts_per_tok=8, output_router_logits=False, rope_scaling=None,
        rope_theta=1000000.0, router_aux_loss_coef=0.001, sliding_window=None,
        tie_word_embeddings=False,
    ),
    "llama-3.2-3b": _released(
        "LlamaForCausalLM", "llama", "4.45.0.dev0", **_sizes(3072, 8192, 28, 24, 8, 128256),
        attention_bias=False, bos_token_id=128000, eos_token_id=[128001, 128008, 128009],
        head_dim=128, max_position_embeddings=131072, mlp_bias=False, pretraining_tp=1,
        rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=True,
        rope_scaling={
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
    ),
    "mistral-7b": _released(
        "MistralForCausalLM", "mistral", "4.42.0.dev0", **_sizes(4096, 14336, 32, 32, 8, 32768),
        bos_token_id=1, eos_token_id=2, max_position_embeddings=32768, rms_norm_eps=1e-5,
        rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=False,
    ),
    "gpt-oss-20b": {
        key: value for key, value in _released(
            "GptOssForCausalLM", "gpt_oss", "4.55.0.dev0", **_sizes(2880, 2880, 24, 64, 8, 201088),
            attention_bias=True, eos_token_id=200002, experts_per_token=4, head_dim=64,
            initial_context_length=4096, layer_types=WINDOWS * 12, max_position_embeddings=131072,
            num_experts_per_tok=4, num_local_experts=32, output_router_logits=False,
            pad_token_id=199999, rms_norm_eps=1e-5, rope_theta=150000, router_aux_loss_coef=0.9,
            sliding_window=128, swiglu_limit=7.0, tie_word_embeddings=False,
            rope_scaling={
                "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
                "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": False,
            },
            quantization_config={
                "modules_to_not_convert": [
                    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                    "lm_head",
                ],
                "quant_method": "mxfp4",
            },
        ).items() if key != "torch_dtype"
    },
    "smollm3-3b": _released(
        "SmolLM3ForCausalLM", "smollm3", "4.54.0.dev0", **_sizes(2048, 11008, 36, 16, 4, 128256),
        attention_bias=False, bos_token_id=128000, eos_token_id=128012,
        layer_types=["full_attention"] * 36, max_position_embeddings=65536, max_window_layers=28,
        mlp_bias=False, no_rope_layer_interval=4, no_rope_layers=[1, 1, 1, 0] * 9,
        pad_token_id=128004, pretraining_tp=2, rms_norm_eps=1e-6, rope_scaling=None,
        rope_theta=5000000.0, sliding_window=None, use_sliding_window=False,
    ) | {"use_cache": False},
    "phi35-vision": _released(
        "Phi3VForCausalLM", "phi3_v", "4.38.1", **_sizes(3072, 8192, 32, 32, 32, 32064),
        **_code("phi3_v", "Phi3V"), **_longrope(48, type="su"), bos_token_id=1, embd_pdrop=0.0,
        embd_layer={
            "embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp",
            "use_hd_transform": True, "with_learnable_separator": True,
        },
        eos_token_id=2, pad_token_id=32000, resid_pdrop=0.0, rms_norm_eps=1e-5,
        img_processor={
            "image_dim_out": 1024, "model_name": "openai/clip-vit-large-patch14-336",
            "name": "clip_vision_model", "num_img_tokens": 144,
        },
        rope_theta=10000.0, sliding_window=131072, tie_word_embeddings=False,
    ),
    "gemma-3-4b": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
        "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144,
        "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "vision_config": {
            "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "model_type": "siglip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
        },
    },
}  # fmt: skip
