"""Recipe and lock as others get them: whole in themselves, and silent about this disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from mlxforge.lock import Lock, lock_text, text_label, texts_by_section
from mlxforge.locking import document_digest, model_digest, recipe_digest
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
        text_label(recipe, section): f"./{printable(name)}"
        for section, name in _text_names(recipe).items()
    }
    texts = {labels.get(label, label): text for label, text in lock.texts.items()}
    document = _document(recipe)
    digests = {
        recipe_digest(recipe): document_digest(document),
        model_digest(recipe.document): model_digest(document),
    }
    models = {
        backend: replace(model, recipe=digests.get(model.recipe or "", model.recipe))
        for backend, model in lock.models.items()
    }
    digest = digests.get(lock.recipe or "", lock.recipe)
    widths = lock.widths
    if widths is not None:
        widths = replace(widths, recipe=digests.get(widths.recipe, widths.recipe))
    changed = replace(lock, recipe=digest, texts=texts, models=models, widths=widths)
    return lock_text(recipe.name, changed).encode()


def _document(recipe: Recipe) -> dict[str, Any]:
    document = {key: value for key, value in recipe.document.items() if key != "upload"}
    if recipe.source.path is not None:
        document["source"] = {**document["source"], "path": recipe.source.path.name}
    for section, name in _text_names(recipe).items():
        text = {**document[section]["text"], "path": name}
        document[section] = {**document[section], "text": text}
    return document


def _text_names(recipe: Recipe) -> dict[str, str]:
    """What local texts are called, by section; two different ones get different names."""
    local = {section: t.path for section, t in texts_by_section(recipe).items() if t.path}
    names = {section: path.name for section, path in local.items()}
    if len(set(names.values())) < len(set(local.values())):
        names = {section: f"{section}-{name}" for section, name in names.items()}
    return names


class _Plain(yaml.SafeDumper):
    """YAML without the anchors that recipes may not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
