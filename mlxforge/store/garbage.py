"""What the store holds and nobody needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Set
from dataclasses import dataclass
from pathlib import Path

from mlxforge.store.store import Store

__all__ = ["Garbage", "find_garbage", "find_orphans", "remove", "remove_orphan"]


@dataclass(frozen=True)
class Garbage:
    kind: str
    key: str
    folder: Path
    bytes: int


def find_garbage(store: Store, needed: Set[str]) -> list[Garbage]:
    """Artifacts and checkpoints whose key is not in ``needed``, checkpoints of what is finished,
    and staging folders that a killed process left."""
    artifacts = [*store.artifacts()]
    unfinished = needed - {key for _, key, _ in artifacts}
    found = [
        Garbage(kind, key, artifact.folder, _bytes(artifact.folder))
        for kind, key, artifact in artifacts
        if key not in needed
    ]
    for kind, kept in (("staging", frozenset[str]()), ("checkpoints", unfinished)):
        place = store.root / kind
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if folder.is_dir() and folder.name not in kept:
                found.append(Garbage(kind, folder.name, folder, _bytes(folder)))
    return found


def remove(store: Store, garbage: Garbage) -> bool:
    """Remove it; False where another process holds its lock, and so is still at work on it.

    The folder is renamed away first: half-removed, it can never be taken for whole.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(store.root / "locks" / f"{garbage.key}.lock", timeout=0):
            doomed = store.root / "staging" / f".removed-{garbage.key}-{os.getpid()}"
            os.rename(garbage.folder, doomed)
            shutil.rmtree(doomed)
    except (Timeout, FileNotFoundError):  # the latter: another gc took it
        return False
    return True


def find_orphans(store: Store, names: Collection[str]) -> list[str]:
    """Names of finished models whose recipe is not in ``names`` any more."""
    links = store.root / "models"
    found = [path.name for path in links.iterdir() if path.is_symlink()] if links.is_dir() else []
    return sorted(name for name in found if name not in names)


def remove_orphan(store: Store, name: str) -> None:
    """Remove the model's stable path and the record of its build; not the model."""
    (store.root / "models" / name).unlink(missing_ok=True)
    (store.root / "built" / f"{name}.json").unlink(missing_ok=True)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
