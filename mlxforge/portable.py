"""Recipe and lock as others get them: whole in themselves, and silent about this disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mlxforge.lock import Lock, lock_text, text_label, texts_by_section
from mlxforge.locking import document_digest, recipe_digest
from mlxforge.recipe.model import Recipe
from mlxforge.recipe.words import printable

__all__ = ["portable_lock", "portable_recipe"]


def portable_recipe(recipe: Recipe) -> bytes:
    """The resolved recipe as YAML that can be built: with what it extends and every default, and
    without ``upload``, which is its author's business. Local paths are cut to their last part."""
    body = yaml.dump(
        _document(recipe), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )
    said = f"# {recipe.name}, with everything that it extends and every default.\n"
    return (said + body).encode()


def portable_lock(recipe: Recipe, lock: Lock) -> bytes:
    """The lock for :func:`portable_recipe`: it pins the same, and calls texts as that does."""
    labels = {
        text_label(recipe, section): f"./{printable(text.path.name)}"
        for section, text in texts_by_section(recipe).items()
        if text.path is not None
    }
    texts = {labels.get(label, label): text for label, text in lock.texts.items()}
    digest = lock.recipe
    if digest == recipe_digest(recipe):
        digest = document_digest(_document(recipe))
    return lock_text(recipe.name, replace(lock, recipe=digest, texts=texts)).encode()


def _document(recipe: Recipe) -> dict[str, Any]:
    kept = {key: value for key, value in recipe.document.items() if key != "upload"}
    return {key: _without_folders(value) for key, value in kept.items()}


def _without_folders(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: Path(inner).name
        if key == "path" and isinstance(inner, str)
        else _without_folders(inner)
        for key, inner in value.items()
    }


class _Plain(yaml.SafeDumper):
    """YAML without the anchors that recipes may not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
