"""Reading locks, and refusing what is none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError, Position
from mlxforge.hub.names import is_file_name, is_file_path
from mlxforge.lock.model import (
    Lock,
    LockedFile,
    LockedModel,
    LockedSource,
    LockedText,
    LockedWidths,
)
from mlxforge.models.source.loader import LOADERS
from mlxforge.recipe.further import Further
from mlxforge.recipe.modes import MODES
from mlxforge.recipe.words import quoted, shown

__all__ = ["parse_lock", "read_lock"]

DIGESTS = {"sha256": 64, "git_sha1": 40}
WIDTHS = tuple(map(str, MODES["affine"].bits))


def read_lock(path: Path, root: Path) -> Lock | None:
    """The lock, or None where there is none. Raises ForgeError where it is damaged; positions
    from ``root``, as in recipes."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        file = os.path.relpath(path, root)
        raise ForgeError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from None
    file = os.path.relpath(path, root)
    try:
        return parse_lock(data, file)
    except ForgeError as error:
        raise _not_a_lock(error.message, error.at) from None
    except ValueError as error:
        raise _not_a_lock(str(error), Position(file, 1, 1)) from None


def parse_lock(data: bytes, file: str) -> Lock:
    """ForgeError where it is not YAML, ValueError with the reason where it is not a lock."""
    from mlxforge.recipe.reader import read
    from mlxforge.recipe.tree import plain

    document = plain(read(data, file))
    _keys("the lock", document, set(), {"recipe", "tools", "source", "models", "texts", "widths"})
    recipe = document.get("recipe")
    if recipe is not None and not _is_hex(recipe, 64):
        raise ValueError(f"recipe is {shown(recipe)}, not a digest")
    tools = _mapping("tools", document.get("tools", {}))
    for tool, version in tools.items():
        if not isinstance(version, str) or not version:
            raise ValueError(f"the version of {quoted(tool)} is {shown(version)}, not text")
    models = _mapping("models", document.get("models", {}))
    texts = _mapping("texts", document.get("texts", {}))
    return Lock(
        _source(document["source"]) if "source" in document else None,
        recipe,
        tools,
        {backend: _model(quoted(backend), raw) for backend, raw in models.items()},
        {label: _text(quoted(label), raw) for label, raw in texts.items()},
        _widths(document["widths"]) if "widths" in document else None,
    )


def _source(raw: Any) -> LockedSource:
    _keys("source", raw, {"repo", "revision", "commit", "files"}, {"further", "loader"})
    _check_words(raw, "repo", "revision")
    _check_commit(raw, is_file_name)
    if raw.get("loader", LOADERS[0]) not in LOADERS:
        raise ValueError(f"loader is {shown(raw['loader'])}, not one of {', '.join(LOADERS)}")
    further = _further(raw.get("further", {}))
    if lacking := [name for name in further.remote_code if name not in raw["files"]]:
        raise ValueError(f"{quoted(lacking[0])} is not among the source's files")
    return LockedSource(**{**raw, "further": further})


def _further(raw: Any) -> Further:
    _keys("further", raw, set(), {"files", "remote_code"})
    for key, names in raw.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{key} is {shown(names)}, not a list of names")
    return Further(**{key: tuple(names) for key, names in raw.items()})


def _text(name: str, raw: Any) -> LockedText | LockedFile:
    if isinstance(raw, dict) and "commit" not in raw and "files" not in raw:
        if "git_sha1" in raw:
            raise ValueError(f"{name} is a local file, and needs its sha256")
        _check_fact(name, raw)
        return LockedFile(**raw)
    _keys(name, raw, {"config", "split", "revision", "commit", "files"})
    _check_words(raw, "config", "split", "revision")
    _check_commit(raw, is_file_path)
    return LockedText(**raw)


def _check_words(raw: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not isinstance(value := raw[key], str) or not value:
            raise ValueError(f"{key} is {shown(value)}, not text")


def _check_commit(raw: dict[str, Any], is_name: Callable[[str], bool]) -> None:
    if not _is_hex(raw["commit"], 40):
        raise ValueError(f"commit is {shown(raw['commit'])}, not 40 hexadecimal digits")
    for name, fact in _mapping("files", raw["files"]).items():
        if not is_name(name):
            raise ValueError(f"{quoted(name)} is not the name of a file")
        _check_fact(quoted(name), fact)


def _check_fact(name: str, fact: Any) -> None:
    """``name`` is in quotes already."""
    kinds = [key for key in DIGESTS if isinstance(fact, dict) and key in fact]
    if len(kinds) != 1:
        raise ValueError(f"{name} needs a size and one of {' and '.join(DIGESTS)}")
    digest = fact[kinds[0]]
    _keys(name, fact, {"size", kinds[0]})
    if type(fact["size"]) is not int or fact["size"] < 0:
        raise ValueError(f"the size of {name} is {shown(fact['size'])}, not a number of bytes")
    if not _is_hex(digest, DIGESTS[kinds[0]]):
        raise ValueError(f"{kinds[0]} of {name} is {shown(digest)}, not a digest")


def _model(name: str, raw: Any) -> LockedModel:
    _keys(name, raw, {"digest", "tensors"}, {"recipe"})
    recipe = raw.get("recipe")
    if recipe is not None and not _is_hex(recipe, 64):
        raise ValueError(f"the recipe of {name} is {shown(recipe)}, not a digest")
    if not _is_hex(raw["digest"], 64):
        raise ValueError(f"the digest of {name} is {shown(raw['digest'])}, not a digest")
    if not isinstance(raw["tensors"], str):
        raise ValueError(f"the tensors of {name} are not text")
    tensors = {}
    for line in raw["tensors"].splitlines():
        digest, _, tensor = line.partition(" ")
        if not _is_hex(digest, 16) or not tensor:
            raise ValueError(f"{quoted(line)} is not a tensor's digest and name")
        tensors[tensor] = digest
    return LockedModel(raw["digest"], tensors, recipe)


def _widths(raw: Any) -> LockedWidths:
    _keys("widths", raw, {"recipe", "bits_per_weight", "layers"})
    if not _is_hex(raw["recipe"], 64):
        raise ValueError(f"the recipe of widths is {shown(raw['recipe'])}, not a digest")
    if type(raw["bits_per_weight"]) not in (int, float) or not 0 < raw["bits_per_weight"] < 64:
        raise ValueError(f"bits_per_weight is {shown(raw['bits_per_weight'])}, not a number")
    if not isinstance(raw["layers"], str):
        raise ValueError("the layers of widths are not text")
    layers = {}
    for line in raw["layers"].splitlines():
        bits, _, path = line.partition(" ")
        if bits not in WIDTHS or not path:
            raise ValueError(f"{quoted(line)} is not a layer's bits and path")
        layers[path] = int(bits)
    return LockedWidths(raw["recipe"], float(raw["bits_per_weight"]), layers)


def _keys(what: str, value: Any, needed: Set[str], known: Set[str] = frozenset()) -> None:
    _mapping(what, value)
    if lacking := sorted(needed - value.keys()):
        raise ValueError(f"{what} has no {lacking[0]}")
    if unknown := sorted(value.keys() - needed - known):
        raise ValueError(f"{what} has the unknown key {quoted(unknown[0])}")


def _mapping(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a mapping")
    return value


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def _not_a_lock(why: str, at: Position | None) -> ForgeError:
    return ForgeError(
        f"this is not a lock: {why}", "restore it, or delete it to lock the recipe anew", at
    )
