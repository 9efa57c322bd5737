"""Locks as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlxforge.models.source.loader import Loader
from mlxforge.recipe.further import NOTHING, Further

__all__ = [
    "Lock",
    "LockedFile",
    "LockedModel",
    "LockedSource",
    "LockedText",
    "LockedWidths",
    "lock_file",
]


@dataclass(frozen=True)
class LockedSource:
    """A commit of a Hub repository.

    ``files``: name -> ``{size: bytes, sha256 or git_sha1: hex}``. ``further``: what the recipe
    wanted besides what every build reads. ``loader``: what makes a model of its config; mlx_lm in
    locks of older versions, which knew no other.
    """

    repo: str
    revision: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]
    further: Further = NOTHING
    loader: Loader = "mlx_lm"


@dataclass(frozen=True)
class LockedText:
    """A split of a data set at a commit. ``config`` and ``split`` are what was found, also where
    the recipe leaves them out; ``files`` as of a source, with folders in their names."""

    config: str
    split: str
    revision: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class LockedFile:
    """A text that is a local file: ``size`` in bytes."""

    size: int
    sha256: str


@dataclass(frozen=True)
class LockedModel:
    """The finished model: the digest of its files, and the first 16 hex digits of the sha256 of
    every tensor, by name. ``recipe`` is the digest of what the recipe said of it, None in locks of
    older versions."""

    digest: str
    tensors: Mapping[str, str]
    recipe: str | None = None


@dataclass(frozen=True)
class LockedWidths:
    """The bits of each layer, by path, that were chosen for the digest of what the ``recipe`` says
    of the model; ``bits_per_weight`` of the model that they make."""

    recipe: str
    bits_per_weight: float
    layers: Mapping[str, int]


@dataclass(frozen=True)
class Lock:
    """``recipe`` is the digest of the resolved recipe, None in locks of older versions; ``tools``
    name -> version; ``texts`` by label (see mlxforge.lock.texts); ``models`` by backend; ``widths``
    where bits were chosen by measuring."""

    source: LockedSource | None = None
    recipe: str | None = None
    tools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, LockedModel] = field(default_factory=lambda: MappingProxyType({}))
    texts: Mapping[str, LockedText | LockedFile] = field(
        default_factory=lambda: MappingProxyType({})
    )
    widths: LockedWidths | None = None


def lock_file(recipe_file: Path, name: str) -> Path:
    return recipe_file.parent / f"{name}.lock"
