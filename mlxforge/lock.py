"""The lock of a recipe: what its moving names stood for. ``recipes/NAME.lock``, committed::

    # What demo stood for. Made by mlxforge; commit it with the recipe.
    source:
      repo: "acme/demo"
      revision: "main"
      commit: "5d0c6a…"
      files:
        "config.json": {size: 912, git_sha1: "03f2…"}
        "model.safetensors": {size: 4096, sha256: "77e1…"}

Sorted, one line per fact, so that a difference reads well and merges. A recipe whose source is
a local folder needs none: its files are hashed instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError, Position
from mlxforge.hub.names import is_file_name
from mlxforge.recipe.words import quoted, shown

__all__ = ["Lock", "lock_file", "read_lock", "write_lock"]

_DIGESTS = {"sha256": 64, "git_sha1": 40}


@dataclass(frozen=True)
class Lock:
    """``files``: name -> ``{size: bytes, sha256 or git_sha1: hex}``."""

    repo: str
    revision: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]


def lock_file(recipe_file: Path, name: str) -> Path:
    return recipe_file.parent / f"{name}.lock"


def read_lock(path: Path, root: Path) -> Lock | None:
    """The lock, or None where there is none. Raises ForgeError where it is damaged; positions
    from ``root``, as in recipes."""
    from mlxforge.recipe.reader import read
    from mlxforge.recipe.tree import plain

    file = os.path.relpath(path, root)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ForgeError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        return _lock(plain(read(data, file)))
    except ForgeError as error:
        raise _not_a_lock(error.message, error.at) from None
    except ValueError as error:
        raise _not_a_lock(str(error), Position(file, 1, 1)) from None


def write_lock(path: Path, name: str, lock: Lock) -> None:
    """All or nothing. Raises ForgeError where the folder cannot be written, or where ``lock`` is
    nothing that :func:`read_lock` would take."""
    facts = {file: dict(fact) for file, fact in lock.files.items()}
    try:
        _lock({"source": {**vars(lock), "files": facts}})
    except ValueError as error:
        raise ForgeError(f"{lock.repo} cannot be locked: {error}") from None
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_text(_text(name, lock), encoding="utf-8")
        os.replace(staged, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise ForgeError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from None


def _lock(document: dict[str, Any]) -> Lock:
    """The document as a Lock; ValueError with the reason where it is not one."""
    source = _keys("the lock", document, {"source"})["source"]
    _keys("source", source, {"repo", "revision", "commit", "files"})
    lock = Lock(**source)
    for key in ("repo", "revision"):
        if not isinstance(value := source[key], str) or not value:
            raise ValueError(f"{key} is {shown(value)}, not text")
    if not _is_hex(lock.commit, 40):
        raise ValueError(f"commit is {shown(lock.commit)}, not 40 hexadecimal digits")
    if not isinstance(lock.files, dict):
        raise ValueError("files is not a mapping")
    for name, fact in lock.files.items():
        if not is_file_name(name):
            raise ValueError(f"{quoted(name)} is not the name of a file")
        _check_fact(name, fact)
    return lock


def _check_fact(name: str, fact: Any) -> None:
    kinds = [key for key in _DIGESTS if isinstance(fact, dict) and key in fact]
    if len(kinds) != 1:
        raise ValueError(f"{quoted(name)} needs a size and one of {' and '.join(_DIGESTS)}")
    digest = fact[kinds[0]]
    _keys(quoted(name), fact, {"size", kinds[0]})
    if type(fact["size"]) is not int or fact["size"] < 0:
        raise ValueError(
            f"the size of {quoted(name)} is {shown(fact['size'])}, not a number of bytes"
        )
    if not _is_hex(digest, _DIGESTS[kinds[0]]):
        raise ValueError(f"{kinds[0]} of {quoted(name)} is {shown(digest)}, not a digest")


def _keys(what: str, value: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a mapping")
    if lacking := sorted(keys - value.keys()):
        raise ValueError(f"{what} has no {lacking[0]}")
    if unknown := sorted(value.keys() - keys):
        raise ValueError(f"{what} has the unknown key {quoted(unknown[0])}")
    return value


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def _not_a_lock(why: str, at: Position | None) -> ForgeError:
    return ForgeError(
        f"this is not a lock: {why}", "restore it, or delete it to lock the recipe anew", at
    )


def _text(name: str, lock: Lock) -> str:
    lines = [
        f"# What {name} stood for. Made by mlxforge; commit it with the recipe.",
        "source:",
        f"  repo: {_quoted(lock.repo)}",
        f"  revision: {_quoted(lock.revision)}",
        f"  commit: {_quoted(lock.commit)}",
        "  files:" if lock.files else "  files: {}",
    ]
    for file, fact in sorted(lock.files.items()):
        facts = ", ".join(f"{key}: {json.dumps(fact[key])}" for key in sorted(fact, reverse=True))
        lines.append(f"    {_quoted(file)}: {{{facts}}}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Double-quoted YAML in ASCII: as JSON writes it, but YAML has no surrogate pairs."""
    escaped = [
        f"\\U{ord(character):08x}" if character > "\uffff" else json.dumps(character)[1:-1]
        for character in text
    ]
    return f'"{"".join(escaped)}"'
