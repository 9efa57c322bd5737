"""What a layer is for: roles, read from where a module sits in the tree, its class and its name.

No list of models: architectures name their parts alike. What they say is declared here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["role_of"]

PLACES: tuple[tuple[str, str], ...] = (
    ("projector", r"projector|connector|resampler|aligner|merger|^patch_merge|^mlp1$"
                  r"|^(mm|img|image|vision|audio|speech)_(proj|adapter)|^embed_(vision|audio)$"),
    ("vision", r"^vision|^visual|^vit$|^img_processor$|^sam_model$"),
    ("audio", r"^audio|^speech|^talker$|^code2wav$"),
    ("shared_experts", r"^shared?_experts?$|^shared_mlp$"),
    ("experts", r"^experts$|^switch_(mlp|glu)$"),
)  # fmt: skip
"""Components that give everything below them one role; the first match wins: what joins a tower
to the language model is a projector, also where the tower holds it."""

ROUTERS = ("gate", "shared_expert_gate", "wg", "coefficient")
HEADS = ("lm_head", "output", "head", "embed_out", "output_layer", "ff_out",
         "diffusion_head")  # fmt: skip
ATTENTION = (
    "attn",
    "attention",
    "att_proj",
    "mixer",
    "mamba",
    "conv",
    "temporal_block",
    "mla",
    "delta",
)
MLP = ("mlp", "ffn", "feed_forward", "ff", "moe", "mlp_block", "fc1", "fc2", "ff_proj", "ff_out")
MLP_CLASS = re.compile(r"(mlp|ffn|feedforward|moe)(block)?$", re.IGNORECASE)


def role_of(path: str, classes: Mapping[str, str], experts: Collection[str]) -> str:
    """The role of the layer, or of the single parameter, at ``path``.

    ``classes`` holds the class name of every module by its path and ``experts`` the paths of
    stacked experts (``SwitchLinear``): a small projection beside experts is their router.
    """
    parts = path.split(".")
    kind = classes.get(path, "")
    for role, pattern in PLACES:
        for depth, part in enumerate(parts):
            if re.search(pattern, part.lower()) and _shares(role, parts[:depth], experts):
                return role
    if "Switch" in kind:  # several matrices, of heads or of experts
        return "attention" if _by_place(parts, classes) == "attention" else "experts"
    if _routes(parts, experts):
        return "router"
    if "Embedding" in kind:
        return "embeddings"
    if "Norm" in kind:
        return "other"
    if any(part in HEADS for part in parts) and not any(part.isdigit() for part in parts):
        return "lm_head"
    return _by_place(parts, classes)


def _by_place(parts: list[str], classes: Mapping[str, str]) -> str:
    """From the innermost module outwards: the first whose class or name says what it is for. The
    class has the first word, because hybrid models call all kinds of layers ``mixer``."""
    for depth in range(len(parts), 0, -1):
        part, kind = parts[depth - 1].lower(), classes.get(".".join(parts[:depth]), "")
        if MLP_CLASS.search(kind):
            return "mlp"
        if any(word in part for word in ATTENTION):
            return "attention"
        if part in MLP or part.endswith(("mlp", "ffn", "moe")):
            return "mlp"
        if "Embedding" in kind:
            return "embeddings"
    return "other"


def _shares(role: str, above: list[str], experts: Collection[str]) -> bool:
    """Whether what is called shared has experts beside it; where none are, it is an MLP."""
    beside = "".join(f"{part}." for part in above)
    return role != "shared_experts" or any(path.startswith(beside) for path in experts)


def _routes(parts: list[str], experts: Collection[str]) -> bool:
    if any(part.endswith("router") for part in parts):
        return True
    for depth in range(len(parts) - 1, 0, -1):
        if parts[depth] in ROUTERS:
            parent = ".".join(parts[:depth]) + "."
            if any(path.startswith(parent) for path in experts):
                return True
    return False
