"""Where a plan's model comes from: its files, what can be inspected before they are there, and
what every step that reads them has to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from mlxforge.errors import ForgeError, Position
from mlxforge.local import Local, shortened
from mlxforge.lock import Lock, LockedSource
from mlxforge.models.source.files import further_files, read_config
from mlxforge.models.source.loader import Loader, loader_of
from mlxforge.nodes import Node
from mlxforge.recipe.further import Further, check_there
from mlxforge.recipe.model import Recipe
from mlxforge.steps.download import Download
from mlxforge.steps.headers import Headers
from mlxforge.steps.source import Wants

__all__ = ["Locals", "NotLocked", "Origin", "local_loader", "not_locked", "origin_of"]


class NotLocked(ForgeError):
    """The recipe names something on the Hub, and no lock says which commit that is."""


class Locals(Protocol):
    """Gives the digests of local folders and files."""

    def folder(self, path: Path, at: Position | None, further: Further) -> Local: ...
    def file(self, path: Path, at: Position | None) -> Local: ...


@dataclass(frozen=True)
class Origin:
    """``files`` is what the model is made of, ``heads`` what inspection reads: of a local folder
    the same, of a repository its headers, so that nothing is downloaded that cannot be built.
    ``wants`` are the parameters of every mlxforge.steps.source.SourceStep."""

    files: Node | Local
    heads: Node | Local
    wants: Wants


def origin_of(recipe: Recipe, lock: Lock | None, local: Locals) -> Origin:
    """Raises NotLocked for a repository without a lock, ForgeError for a lock of another one."""
    source = recipe.source
    code = tuple(sorted(source.further.remote_code))
    if source.path is not None:
        found = local.folder(source.path, source.at, source.further)
        check_there(source.further, found.names, recipe.positions, shortened(source.path))
        wants = _wants(found.names, source.further, code, _known_loader(source.path, found.key))
        return Origin(found, found, wants)
    locked = _locked(recipe, lock)
    download = Download(locked.repo, locked.commit, locked.files)
    heads = Headers.of(download, code)
    wants = _wants(locked.files, source.further, code, locked.loader)
    return Origin(Node(download, ()), Node(heads, ()), wants)


def local_loader(folder: Path) -> Loader:
    """What makes the model of a local folder. A config that cannot be read is inspection's to
    refuse."""
    try:
        return loader_of(read_config(folder))
    except (ForgeError, OSError):
        return "mlx_lm"


@lru_cache
def _known_loader(folder: Path, key: str) -> Loader:
    """The same, of the content that ``key`` stands for."""
    return local_loader(folder)


def not_locked(recipe: Recipe, what: str, at: Position | None) -> NotLocked:
    return NotLocked(
        f"{recipe.name} is not locked: which commit is {what}?",
        f"`doit lock {recipe.name}` asks the Hub once and writes {recipe.name}.lock",
        at=at,
    )


def _wants(names: Iterable[str], further: Further, code: tuple[str, ...], loader: Loader) -> Wants:
    return {"files": further_files(names, further), "remote_code": code, "loader": loader}


def _locked(recipe: Recipe, lock: Lock | None) -> LockedSource:
    source = recipe.source
    if lock is None or lock.source is None:
        raise not_locked(recipe, f"{source.repo} at {source.revision}", source.at)
    locked = lock.source
    if (locked.repo, locked.revision) != (source.repo, source.revision):
        raise ForgeError(
            f"{recipe.name}.lock is for {locked.repo} at {locked.revision}, "
            f"the recipe wants {source.repo} at {source.revision}",
            f"`doit lock --upgrade {recipe.name}` moves the lock",
            at=source.at,
        )
    if locked.further != source.further:
        raise ForgeError(
            f"{recipe.name}.lock is for {locked.further or 'no further files'}, "
            f"the recipe wants {source.further or 'no further files'}",
            f"`doit lock --upgrade {recipe.name}` moves the lock",
            at=source.at,
        )
    return locked
