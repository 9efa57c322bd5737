"""Texts as people call them."""

from __future__ import annotations

from mlxforge.recipe.model import Text
from mlxforge.recipe.words import printable

__all__ = ["text_name"]


def text_name(text: Text) -> str:
    """``heldout.txt``, or ``Salesforce/wikitext (wikitext-2-raw-v1, test)``."""
    if text.path is not None:
        return printable(text.path.name)
    detail = ", ".join(word for word in (text.config, text.split) if word)
    return printable(f"{text.dataset} ({detail})" if detail else str(text.dataset))
