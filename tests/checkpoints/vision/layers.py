"""Language decoders and vision towers, by their prefixes in the releases' files."""

from __future__ import annotations

from tests.checkpoints.common import (
    BLOCK_NORMS,
    HIDDEN,
    LAYERS,
    PROJECTIONS,
    Weights,
    attention,
    mlp,
    norms,
    random,
)

PATCH = 14

# Gemma multiplies its embeddings by the square root of their size and ties its head to them: with
# larger ones a random model only repeats its last token
GEMMA_EMBEDDINGS = 0.25


def linear(path: str, rows: int, columns: int) -> Weights:
    """A weight ``[rows, columns]`` and a bias."""
    return {f"{path}.weight": random(rows, columns), f"{path}.bias": random(rows)}


def norm(path: str, size: int = HIDDEN) -> Weights:
    """A layer norm, which unlike a root mean square norm has a bias."""
    return {f"{path}.weight": 1 + random(size), f"{path}.bias": random(size)}


def decoder(
    prefix: str,
    rows: int,
    *,
    qkv_bias: bool = False,
    qk_norm: bool = False,
    embeddings: float = 1.0,
) -> Weights:
    """A llama-like decoder: an embedding table of ``rows``, times ``embeddings``, the layers and
    the last norm."""
    weights = {
        f"{prefix}embed_tokens.weight": embeddings * random(rows, HIDDEN),
        f"{prefix}norm.weight": 1 + random(HIDDEN),
    }
    for layer in range(LAYERS):
        path = f"{prefix}layers.{layer}."
        weights |= attention(path) | mlp(f"{path}mlp.", PROJECTIONS) | norms(path, *BLOCK_NORMS)
        if qkv_bias:
            for name, size in (("q", HIDDEN), ("k", HIDDEN // 2), ("v", HIDDEN // 2)):
                weights[f"{path}self_attn.{name}_proj.bias"] = random(size)
        if qk_norm:
            weights |= {f"{path}self_attn.{name}_norm.weight": 1 + random(32) for name in "qk"}
    return weights


def transformer(prefix: str, *, hidden: int = HIDDEN, layers: int = LAYERS) -> Weights:
    """The layers of CLIP and SigLIP, four times as wide inside."""
    weights: Weights = {}
    for layer in range(layers):
        path = f"{prefix}encoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= linear(f"{path}self_attn.{name}", hidden, hidden)
        weights |= linear(f"{path}mlp.fc1", 4 * hidden, hidden)
        weights |= linear(f"{path}mlp.fc2", hidden, 4 * hidden)
        weights |= norm(f"{path}layer_norm1", hidden) | norm(f"{path}layer_norm2", hidden)
    return weights


def clip(prefix: str, patches: int, *, hidden: int = HIDDEN) -> Weights:
    """CLIP's embeddings of ``patches`` and a class token, and its norms (the layers apart)."""
    return {
        f"{prefix}embeddings.class_embedding": random(hidden),
        f"{prefix}embeddings.patch_embedding.weight": random(hidden, 3, PATCH, PATCH),
        f"{prefix}embeddings.position_embedding.weight": random(patches + 1, hidden),
        **norm(f"{prefix}pre_layrnorm", hidden),
        **norm(f"{prefix}post_layernorm", hidden),
    }


def siglip(prefix: str, patches: int, patch: int = PATCH) -> Weights:
    """A whole SigLIP tower."""
    return {
        f"{prefix}embeddings.patch_embedding.weight": random(HIDDEN, 3, patch, patch),
        f"{prefix}embeddings.patch_embedding.bias": random(HIDDEN),
        f"{prefix}embeddings.position_embedding.weight": random(patches, HIDDEN),
        **transformer(prefix),
        **norm(f"{prefix}post_layernorm"),
    }


def siglip_fields(**more: object) -> dict[str, object]:
    """The fields of a SigLIP tower of these sizes."""
    plain: dict[str, object] = {
        "hidden_size": HIDDEN, "intermediate_size": 4 * HIDDEN, "num_attention_heads": 4,
        "num_hidden_layers": LAYERS, "patch_size": PATCH, "image_size": 4 * PATCH,
        "model_type": "siglip_vision_model",
    }  # fmt: skip
    return plain | more
