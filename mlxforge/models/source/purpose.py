"""What mlx_vlm's models are for: of those that it has, some make pictures, vectors or decisions.

Read from what a model offers, as mlx_vlm's own ``generate`` finds it out; no list of names.
"""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["other_purpose", "writes_by_diffusion"]


def other_purpose(kind: Any) -> str | None:
    """What models of the class ``kind`` do instead of writing text; None where they write it.
    ``kind`` is None where an architecture has no model of its own."""
    if kind is None:
        return "writes no text"
    if hasattr(kind, "decision_types"):
        return "answers with a decision"
    if "EmbeddingOutput" in str(inspect.signature(kind.__call__).return_annotation):
        return "makes embeddings"
    if not (hasattr(kind, "layers") and hasattr(kind, "get_input_embeddings")):
        return "writes no text"
    return None


def writes_by_diffusion(model: Any) -> bool:
    """Whether words are written all at once, step by step: such a model predicts no next word,
    and cannot be scored."""
    from mlx_vlm.generate.diffusion import is_diffusion_model

    return bool(is_diffusion_model(model))
