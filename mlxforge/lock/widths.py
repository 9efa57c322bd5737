"""Bits that were chosen by measuring, and whether they were chosen for this recipe."""

from __future__ import annotations

from mlxforge.lock.digests import model_digest
from mlxforge.lock.model import Lock, LockedWidths
from mlxforge.recipe.model import Recipe

__all__ = ["widths_of"]


def widths_of(recipe: Recipe, lock: Lock | None) -> LockedWidths | None:
    """What the lock says of the recipe's widths; None where it says nothing, where they were
    chosen for another recipe, and where this one chooses none."""
    if lock is None or lock.widths is None or recipe.quantize.dynamic is None:
        return None
    return lock.widths if lock.widths.recipe == model_digest(recipe.document) else None
