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
