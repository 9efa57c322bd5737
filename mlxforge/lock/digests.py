"""Digests of what a recipe says, by which a lock knows what its facts were found for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.recipe.model import Recipe
from mlxforge.store.keys import digest

__all__ = ["document_digest", "model_digest", "recipe_digest"]


def recipe_digest(recipe: Recipe) -> str:
    """Of everything that the recipe says of the model and its score, defaults filled in."""
    return document_digest(recipe.document)


def document_digest(document: Mapping[str, Any]) -> str:
    """The same of a resolved recipe's document."""
    apart = ("upload", "name")
    return digest({key: value for key, value in document.items() if key not in apart})


def model_digest(document: Mapping[str, Any]) -> str:
    """Of what a resolved recipe says of the model, and not of its score."""
    return digest({key: document.get(key) for key in ("source", "quantize", "calibrate")})
