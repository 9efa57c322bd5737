"""Checking downloaded files against what the lock says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.store.hashes import sha256_of

__all__ = ["check_files"]


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ForgeError naming the files that are missing or differ in size or digest.

    The cache keeps content under its digest. What lies there under a digest that it does not
    have is of no use to anybody, and would be taken for downloaded for ever: it is removed.
    """
    wrong = {}
    for name, fact in sorted(files.items()):
        if problem := _problem(folder / name, fact):
            wrong[name] = problem
            _discard(folder / name, fact)
    if wrong:
        name, problem = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
        where = folder / name
        hint = f"delete {where.resolve()} and build again" if where.exists() else "build again"
        raise ForgeError(f"{name} as downloaded {problem}{more}", hint)


def _problem(path: Path, fact: Mapping[str, Any]) -> str | None:
    if not path.is_file():
        return "is missing: the Hub did not give it"
    if (size := path.stat().st_size) != fact["size"]:
        return f"has {size} bytes, the lock says {fact['size']}"
    kind, digest = _digest(path, fact)
    return None if digest == fact[kind] else f"has another {kind} than the lock says"


def _digest(path: Path, fact: Mapping[str, Any]) -> tuple[str, str]:
    return ("sha256", sha256_of(path)) if "sha256" in fact else ("git_sha1", git_sha1(path))


def _discard(path: Path, fact: Mapping[str, Any]) -> None:
    blob = path.resolve()
    if path.is_symlink() and blob.name == fact.get("sha256", fact.get("git_sha1")):
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def git_sha1(path: Path) -> str:
    """git's digest of a file: sha1 over ``blob SIZE\\0`` and the bytes."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
