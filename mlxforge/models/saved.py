"""Arrays that were saved with facts about them."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

__all__ = ["load_saved"]


def load_saved(file: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Of a .safetensors file its arrays, lazy, and its metadata."""
    found = mx.load(str(file), return_metadata=True)
    assert isinstance(found, tuple)
    arrays, facts = found
    assert isinstance(arrays, dict)
    return arrays, facts
