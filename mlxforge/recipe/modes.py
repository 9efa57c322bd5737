"""What MLX's quantization modes can hold, and the words a rule may use for layers. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MODES", "ROLES", "Mode"]


@dataclass(frozen=True)
class Mode:
    """The bits and group sizes that a mode has; the first of each is its default."""

    bits: tuple[int, ...]
    group_sizes: tuple[int, ...]


MODES: dict[str, Mode] = {
    "affine": Mode(bits=(4, 2, 3, 5, 6, 8), group_sizes=(64, 32, 128)),
    "mxfp4": Mode(bits=(4,), group_sizes=(32,)),
    "nvfp4": Mode(bits=(4,), group_sizes=(16,)),
    "mxfp8": Mode(bits=(8,), group_sizes=(32,)),
}

ROLES: tuple[str, ...] = (
    "attention",
    "mlp",
    "experts",
    "shared_experts",
    "router",
    "embeddings",
    "lm_head",
    "vision",
    "audio",
    "projector",
    "other",
)
