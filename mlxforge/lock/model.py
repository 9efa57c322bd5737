"""Locks as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["Lock", "LockedModel", "LockedSource", "lock_file"]


@dataclass(frozen=True)
class LockedSource:
    """A commit of a Hub repository.

    ``files``: name -> ``{size: bytes, sha256 or git_sha1: hex}``.
    """

    repo: str
    revision: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class LockedModel:
    """The finished model: the digest of its files, and the first 16 hex digits of the sha256 of
    every tensor, by name."""

    digest: str
    tensors: Mapping[str, str]


@dataclass(frozen=True)
class Lock:
    """``recipe`` is the digest of the resolved recipe, None in locks of older versions; ``tools``
    name -> version; ``models`` by backend."""

    source: LockedSource | None = None
    recipe: str | None = None
    tools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, LockedModel] = field(default_factory=lambda: MappingProxyType({}))


def lock_file(recipe_file: Path, name: str) -> Path:
    return recipe_file.parent / f"{name}.lock"
