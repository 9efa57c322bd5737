"""What a recipe's texts are called in its lock.

A label is what the recipe says: ``Salesforce/wikitext wikitext-2-raw-v1 test`` for a data set,
``acme/lines * test`` where the configuration is left out, ``./heldout.txt`` for a local file, seen
from the recipe. No two texts of a recipe share one: a data set's name begins with neither dot nor
slash.
"""

from __future__ import annotations

import json
import os
import re

from mlxforge.recipe.model import Recipe, Text
from mlxforge.recipe.words import printable

__all__ = ["text_label", "texts_by_section", "texts_of"]

LEFT_OUT = "*"


def texts_by_section(recipe: Recipe) -> dict[str, Text]:
    """Every text that the recipe names, by its section: ``calibrate``, ``evaluate``."""
    found = {
        "calibrate": recipe.calibrate and recipe.calibrate.text,
        "evaluate": recipe.evaluate and recipe.evaluate.text,
    }
    return {section: text for section, text in found.items() if text}


def texts_of(recipe: Recipe) -> dict[str, Text]:
    """The same by label."""
    texts = texts_by_section(recipe)
    return {text_label(recipe, section): text for section, text in texts.items()}


def text_label(recipe: Recipe, section: str) -> str:
    """The label of the text in a section, which must name one."""
    text = texts_by_section(recipe)[section]
    if text.path is not None:
        return _file_label(str(recipe.document[section]["text"]["path"]), recipe, text)
    words = [text.dataset, text.config, text.split]
    while words[-1] is None:
        words.pop()
    return " ".join(LEFT_OUT if word is None else _one_word(word) for word in words)


def _file_label(written: str, recipe: Recipe, text: Text) -> str:
    if os.path.isabs(written):
        return printable(os.path.normpath(written))
    path = printable(os.path.relpath(text.path or "", recipe.file.parent))
    return path if path.startswith("../") else f"./{path}"


def _one_word(word: str) -> str:
    """As it is, or in quotes where it could be taken for several words, or for one left out."""
    return word if re.fullmatch(r'[^\s"*]+', word) else json.dumps(word, ensure_ascii=False)
