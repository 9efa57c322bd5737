"""A model type that no installed loader has: who knows it, and what would."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.source.loader import LOADERS, Loader, types_of

__all__ = ["unknown_type"]

TEXT_MAKERS = (
    "ForCausalLM", "ForConditionalGeneration", "ForImageTextToText", "ForVision2Seq",
    "LMHeadModel", "WithLMHead",
)  # fmt: skip
"""How classes that make text end in ``architectures``."""


def unknown_type(folder: Path, config: Mapping[str, Any], loader: Loader) -> ForgeError:
    """``loader``: the one that would have to know it."""
    model_type = config["model_type"]
    own = " and would need its own code" if config.get("auto_map") else ""
    problem = f"{folder}: {loader} knows no model type {model_type!r}{own}"
    described = _described_by_transformers()
    has = f"transformers {version('transformers')}"
    if model_type not in described:
        ours = described & {name for library in LOADERS for name in types_of(library)}
        if not own and (meant := _misspelt(model_type, ours)):
            return ForgeError(f"{problem}, nor does {has}", f"did you mean {meant!r}?")
        return ForgeError(f"{problem}, nor does {has}", _newer(loader, config))
    makes = config.get("architectures")
    if isinstance(makes, list) and makes and not any(str(m).endswith(TEXT_MAKERS) for m in makes):
        return ForgeError(
            f"{problem}; for transformers it is a {makes[0]}", "models that make text can be built"
        )
    return ForgeError(f"{problem}, {has} does", _newer(loader, config))


def _described_by_transformers() -> set[str]:
    from transformers import CONFIG_MAPPING

    return set(CONFIG_MAPPING)


def _misspelt(model_type: str, known: Collection[str]) -> str | None:
    """What ``model_type`` was meant to be. Where only numbers differ it is no slip, but another
    generation of models."""
    found = get_close_matches(model_type, sorted(known), n=1, cutoff=0.8)
    same = found and re.sub(r"[\d.]+", "", found[0]) == re.sub(r"[\d.]+", "", model_type)
    return found[0] if found and not same else None


def _newer(loader: Loader, config: Mapping[str, Any]) -> str:
    package = loader.replace("_", "-")
    wrote = config.get("transformers_version")
    written = f"; config.json was written by transformers {wrote}" if isinstance(wrote, str) else ""
    return f"a newer {package} may know it, {version(package)} is installed{written}"
