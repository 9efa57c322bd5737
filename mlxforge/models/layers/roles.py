"""What a layer is for: roles, read from where a module sits in the tree and what it is called.

No list of models: architectures name their parts alike. Exceptions are declared in ``NAMES``.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["role_of"]

NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("projector", ("multi_modal_projector", "mm_projector", "img_projection", "connector",
                   "embed_vision", "embed_audio", "projector")),
    ("vision", ("vision_tower", "vision_model", "visual", "vision_embed_tokens", "vision",
                "vision_encoder", "vit", "img_processor")),
    ("audio", ("audio_tower", "audio_model", "audio", "audio_encoder")),
    ("shared_experts", ("shared_experts", "shared_expert", "shared_mlp")),
    ("experts", ("experts", "switch_mlp", "switch_glu")),
)  # fmt: skip
"""Components that give everything below them one role; the first match wins."""

ROUTERS = ("router", "gate", "shared_expert_gate", "wg")
HEADS = ("lm_head", "output", "head", "embed_out", "output_layer")
ATTENTION = ("attn", "attention", "mixer", "mamba", "conv", "temporal_block", "mla", "delta")
MLP = ("mlp", "ffn", "feed_forward", "ff", "moe", "mlp_block")


def role_of(path: str, kind: str, experts: Collection[str]) -> str:
    """The role of the layer at ``path``.

    ``kind`` is its class name and ``experts`` are the paths of stacked experts
    (``SwitchLinear``): a small projection beside experts is their router.
    """
    parts = path.split(".")
    named = [part.lower() for part in parts]
    for role, names in NAMES:
        if any(part in names for part in named):
            return role
    if "Switch" in kind or path in experts:
        return "experts"
    if _routes(parts, experts):
        return "router"
    if "Embedding" in kind:
        return "embeddings"
    if "Norm" in kind:
        return "other"
    if parts[-1] in HEADS and not any(part.isdigit() for part in parts):
        return "lm_head"
    for part in reversed(named):
        if any(word in part for word in ATTENTION):
            return "attention"
        if part in MLP or part.endswith(("mlp", "ffn", "moe")):
            return "mlp"
    return "other"


def _routes(parts: list[str], experts: Collection[str]) -> bool:
    if "router" in parts:
        return True
    for depth in range(len(parts) - 1, 0, -1):
        if parts[depth] in ROUTERS:
            parent = ".".join(parts[:depth]) + "."
            if any(path.startswith(parent) for path in experts):
                return True
    return False
