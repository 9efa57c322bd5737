"""Checking downloaded files against what the lock says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.source.files import source_files
from mlxforge.store.hashes import sha256_of

__all__ = ["check_files", "check_nothing_else", "difference", "unlike"]


def check_files(
    folder: Path,
    files: Mapping[str, Mapping[str, Any]],
    sha256: Callable[[Path], str] = sha256_of,
) -> None:
    """Raises ForgeError naming the files that are missing or differ in size or digest.

    The cache keeps content under its digest. What lies there under a digest that it does not
    have is of no use to anybody, and would be taken for downloaded for ever: it is removed.
    ``sha256`` may remember digests of files that did not change.
    """
    wrong = {}
    for name, fact in sorted(files.items()):
        if problem := difference(folder / name, fact, sha256):
            wrong[name] = problem
            _discard(folder / name, fact)
    if wrong:
        name, problem = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
        where = folder / name
        hint = f"delete {where.resolve()} and build again" if where.exists() else "build again"
        raise ForgeError(f"{name} as downloaded {problem}{more}", hint)


def check_nothing_else(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ForgeError for a file that is none of ``files`` and that a build would read."""
    for path in source_files(folder):
        if path.name not in files:
            raise ForgeError(f"{path} is not among the lock's files", "remove it: it came later")


def difference(
    path: Path, fact: Mapping[str, Any], sha256: Callable[[Path], str] = sha256_of
) -> str | None:
    """In which way the file is not what ``fact`` (size and digest) says; None where it is."""
    if not path.is_file():
        return "is missing: the Hub did not give it"
    if (size := path.stat().st_size) != fact["size"]:
        return f"has {size} bytes, the lock says {fact['size']}"
    kind = "sha256" if "sha256" in fact else "git_sha1"
    digest = sha256(path) if kind == "sha256" else git_sha1(path)
    return None if digest == fact[kind] else _other(kind)


def _other(kind: str) -> str:
    return f"has another {kind} than the lock says"


def unlike(name: str, kind: str) -> ForgeError:
    """A file that came with other bytes, and was not kept."""
    return ForgeError(f"{name} as downloaded {_other(kind)}", "build again")


def _discard(path: Path, fact: Mapping[str, Any]) -> None:
    blob = path.resolve()
    if path.is_symlink() and blob.name == fact.get("sha256", fact.get("git_sha1")):
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def git_sha1(path: Path) -> str:
    """git's digest of a file: sha1 over ``blob SIZE\\0`` and the bytes."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
