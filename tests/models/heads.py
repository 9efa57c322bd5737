"""Small random models whose heads do more, or do it differently, than a linear layer."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from tests.tiny import DEMO_MODEL, save

HIDDEN, INNER, LAYERS = 128, 256, 2
NEVER_SAID = (7, 300, 499)  # tokens that ``Masking`` gives no probability


def make_gemma2(root: Path) -> Path:
    """Embeddings scaled, logits of attention and head soft-capped."""
    extra = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
    config = {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 32,
    }
    return _make(root / "gemma2", config, extra)


def make_seed_oss(root: Path) -> Path:
    """A tied head that multiplies by the embedding's weight itself."""
    config = {"architectures": ["SeedOssForCausalLM"], "model_type": "seed_oss"}
    return _make(root / "seed_oss", config, ())


def make_gemma3(root: Path) -> Path:
    """A text model inside of one that also took images: all of it under ``language_model``."""
    extra = ("pre_feedforward_layernorm", "post_feedforward_layernorm",
             "self_attn.q_norm", "self_attn.k_norm")  # fmt: skip
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3"}
    return _make(root / "gemma3", config, extra, inside="language_model.")


class Wrapped(nn.Module):
    """Around a model with layers: its ``model`` is that model's own, a property."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model

    def __call__(self, tokens: mx.array, cache: None = None) -> mx.array:
        return self.language_model(tokens, cache)

    @property
    def model(self) -> nn.Module:
        return self.language_model.model


def masking(model: nn.Module) -> nn.Module:
    """``model`` with a head that looks ``NEVER_SAID`` up in its vocabulary, in place."""

    class Masking(type(model)):
        def __call__(self, tokens: mx.array, cache: None = None) -> mx.array:
            logits = super().__call__(tokens, cache)
            logits[..., mx.array(NEVER_SAID)] = -float("inf")
            return logits

    model.__class__ = Masking
    return model


def _make(
    folder: Path, config: dict[str, object], extra: tuple[str, ...], inside: str = ""
) -> Path:
    if folder.exists():
        return folder
    vocabulary = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
    mx.random.seed(3)

    def random(*shape: int) -> mx.array:
        return (mx.random.normal(shape) * 0.05).astype(mx.bfloat16)

    weights = {
        "model.embed_tokens.weight": random(vocabulary, HIDDEN),
        "model.norm.weight": 1 + random(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in (
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN // 2, HIDDEN),
            ("self_attn.v_proj", HIDDEN // 2, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.up_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
        ):
            weights[f"{prefix}{name}.weight"] = random(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm", *extra):
            width = HIDDEN // 4 if name.startswith("self_attn") else HIDDEN
            weights[f"{prefix}{name}.weight"] = 1 + random(width)
    shared = {
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rms_norm_eps": 1e-6,
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
    if inside:
        text = {"model_type": "gemma3_text", "sliding_window_pattern": 2, "sliding_window": 16}
        config = config | {"text_config": shared | text}
    save(folder, shared | config, {f"{inside}{name}": value for name, value in weights.items()})
    return folder
