"""Small random models in the real Hugging Face layout, for tests that need no sense."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx

DEMO_MODEL = Path(__file__).parent.parent / "recipes" / "demo" / "model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def make_llama(
    folder: Path,
    *,
    tied: bool = True,
    dtype: str = "bfloat16",
    hidden: int = 128,
    intermediate: int = 256,
    layers: int = 2,
    seed: int = 0,
) -> None:
    """A llama with the demo model's tokenizer and vocabulary."""
    vocabulary = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
    mx.random.seed(seed)

    def random(*shape: int) -> mx.array:
        return (mx.random.normal(shape) * 0.05).astype(getattr(mx, dtype))

    weights = {
        "model.embed_tokens.weight": random(vocabulary, hidden),
        "model.norm.weight": 1 + random(hidden),
    }
    if not tied:
        weights["lm_head.weight"] = random(vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in (
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", hidden // 2, hidden),
            ("self_attn.v_proj", hidden // 2, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", intermediate, hidden),
            ("mlp.up_proj", intermediate, hidden),
            ("mlp.down_proj", hidden, intermediate),
        ):
            weights[f"{prefix}{name}.weight"] = random(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = 1 + random(hidden)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
    }
    save(folder, config, weights)


def save(folder: Path, config: dict[str, object], weights: dict[str, mx.array]) -> None:
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO_MODEL / name, folder / name)


def _moe_base(hidden: int, layers: int, vocabulary: int) -> dict[str, mx.array]:
    def random(*shape: int) -> mx.array:
        return (mx.random.normal(shape) * 0.05).astype(mx.bfloat16)

    weights = {
        "model.embed_tokens.weight": random(vocabulary, hidden),
        "model.norm.weight": 1 + random(hidden),
        "lm_head.weight": random(vocabulary, hidden),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2), ("o", hidden)):
            weights[f"{prefix}self_attn.{name}_proj.weight"] = random(rows, hidden)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = 1 + random(hidden)
    return weights


def make_qwen3_moe(root: Path) -> Path:
    """Four experts per layer in separate tensors; the architecture protects its router itself."""
    folder = root / "qwen3_moe"
    if folder.exists():
        return folder
    hidden, experts, inner, layers = 128, 4, 128, 2
    vocabulary = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
    mx.random.seed(1)
    weights = _moe_base(hidden, layers, vocabulary)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name in ("q_norm", "k_norm"):
            weights[f"{prefix}self_attn.{name}.weight"] = mx.ones(32, dtype=mx.bfloat16)
        weights[f"{prefix}mlp.gate.weight"] = _small(experts, hidden)
        for expert in range(experts):
            for name, rows, columns in (
                ("gate_proj", inner, hidden),
                ("up_proj", inner, hidden),
                ("down_proj", hidden, inner),
            ):
                weights[f"{prefix}mlp.experts.{expert}.{name}.weight"] = _small(rows, columns)
    config = {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "hidden_size": hidden, "intermediate_size": 256, "moe_intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "num_experts": experts, "num_experts_per_tok": 2,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 4096,
        "vocab_size": vocabulary, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    save(folder, config, weights)
    return folder


def make_phimoe(root: Path) -> Path:
    """Phi-3.5-MoE's key names; upstream has no rule that protects its router."""
    folder = root / "phimoe"
    if folder.exists():
        return folder
    hidden, experts, inner, layers = 128, 4, 128, 2
    vocabulary = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
    mx.random.seed(2)
    weights = _moe_base(hidden, layers, vocabulary)
    weights["model.norm.bias"] = mx.zeros(hidden, dtype=mx.bfloat16)
    weights["lm_head.bias"] = mx.zeros(vocabulary, dtype=mx.bfloat16)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2), ("o", hidden)):
            bias = mx.zeros(rows, dtype=mx.bfloat16)
            weights[f"{prefix}self_attn.{name}_proj.bias"] = bias
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.bias"] = mx.zeros(hidden, dtype=mx.bfloat16)
        weights[f"{prefix}block_sparse_moe.gate.weight"] = _small(experts, hidden)
        for expert in range(experts):
            for name, rows, columns in (
                ("w1", inner, hidden), ("w2", hidden, inner), ("w3", inner, hidden),
            ):  # fmt: skip
                key = f"{prefix}block_sparse_moe.experts.{expert}.{name}.weight"
                weights[key] = _small(rows, columns)
    half = [1.0] * (hidden // 4 // 2)
    scaling = {
        "type": "longrope", "long_factor": half, "short_factor": half, "short_mscale": 1.243,
        "long_mscale": 1.243, "original_max_position_embeddings": 4096,
    }  # fmt: skip
    config = {
        "architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_local_experts": experts, "num_experts_per_tok": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "rope_scaling": scaling,
        "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
        "attention_bias": True, "lm_head_bias": True, "router_jitter_noise": 0.01,
        "input_jitter_noise": 0.01, "hidden_act": "silu", "sliding_window": 262144,
        "vocab_size": vocabulary, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    save(folder, config, weights)
    return folder


def _small(*shape: int) -> mx.array:
    return (mx.random.normal(shape) * 0.05).astype(mx.bfloat16)
