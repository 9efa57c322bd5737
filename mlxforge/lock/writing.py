"""Writing locks."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.lock.model import (
    Lock,
    LockedFile,
    LockedModel,
    LockedSource,
    LockedText,
    LockedWidths,
)
from mlxforge.lock.reading import parse_lock

__all__ = ["lock_text", "write_lock"]


def write_lock(path: Path, name: str, lock: Lock) -> None:
    """All or nothing. Raises ForgeError where the folder cannot be written, or where ``lock`` is
    nothing that ``read_lock`` would take."""
    text = lock_text(name, lock)
    try:
        parse_lock(text.encode(), path.name)
    except (ForgeError, ValueError) as error:
        told = error.message if isinstance(error, ForgeError) else str(error)
        raise ForgeError(f"{name} cannot be locked: {told}") from None
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_text(text, encoding="utf-8")
        os.replace(staged, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise ForgeError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from None


def lock_text(name: str, lock: Lock) -> str:
    """What stands in the file."""
    return "\n".join(_lines(name, lock)) + "\n"


def _lines(name: str, lock: Lock) -> Iterator[str]:
    yield f"# What {name} stood for. Made by mlxforge; commit it with the recipe."
    if lock.recipe is not None:
        yield f"recipe: {_quoted(lock.recipe)}"
    if lock.tools:
        yield "tools:"
        for tool, version in sorted(lock.tools.items()):
            yield f"  {_quoted(tool)}: {_quoted(version)}"
    if lock.source is not None:
        yield from _source(lock.source)
    if lock.texts:
        yield "texts:"
        for label, text in sorted(lock.texts.items()):
            yield from _text(label, text)
    if lock.widths is not None:
        yield from _widths(lock.widths)
    if lock.models:
        yield "models:"
        for backend, model in sorted(lock.models.items()):
            yield from _model(backend, model)
    if lock == Lock():
        yield "{}"


def _source(source: LockedSource) -> Iterator[str]:
    yield "source:"
    yield f"  repo: {_quoted(source.repo)}"
    if source.further:
        named = {key: names for key, names in vars(source.further).items() if names}
        lists = (f"{key}: [{', '.join(map(_quoted, names))}]" for key, names in named.items())
        yield f"  further: {{{', '.join(lists)}}}"
    yield from _commit("  ", source, source.loader)


def _text(label: str, text: LockedText | LockedFile) -> Iterator[str]:
    if isinstance(text, LockedFile):
        yield f"  {_quoted(label)}: {_fact(vars(text))}"
        return
    yield f"  {_quoted(label)}:"
    yield f"    config: {_quoted(text.config)}"
    yield f"    split: {_quoted(text.split)}"
    yield from _commit("    ", text)


def _commit(
    indent: str, locked: LockedSource | LockedText, loader: str | None = None
) -> Iterator[str]:
    yield f"{indent}revision: {_quoted(locked.revision)}"
    yield f"{indent}commit: {_quoted(locked.commit)}"
    if loader is not None:
        yield f"{indent}loader: {_quoted(loader)}"
    yield f"{indent}files:" if locked.files else f"{indent}files: {{}}"
    for file, fact in sorted(locked.files.items()):
        yield f"{indent}  {_quoted(file)}: {_fact(fact)}"


def _fact(fact: Mapping[str, Any]) -> str:
    """Its size, then its digest."""
    facts = (f"{key}: {json.dumps(fact[key])}" for key in sorted(fact, reverse=True))
    return f"{{{', '.join(facts)}}}"


def _widths(widths: LockedWidths) -> Iterator[str]:
    yield "widths:"
    yield f"  recipe: {_quoted(widths.recipe)}"
    yield f"  bits_per_weight: {widths.bits_per_weight}"
    yield "  layers: |"
    for path, bits in sorted(widths.layers.items()):
        yield f"    {bits} {path}"


def _model(backend: str, model: LockedModel) -> Iterator[str]:
    yield f"  {_quoted(backend)}:"
    yield f"    digest: {_quoted(model.digest)}"
    if model.recipe is not None:
        yield f"    recipe: {_quoted(model.recipe)}"
    yield "    tensors: |"
    for tensor, digest in sorted(model.tensors.items()):
        yield f"      {digest} {tensor}"


def _quoted(text: str) -> str:
    """Double-quoted YAML in ASCII: as JSON writes it, but YAML has no surrogate pairs."""
    escaped = [
        f"\\U{ord(character):08x}" if character > "\uffff" else json.dumps(character)[1:-1]
        for character in text
    ]
    return f'"{"".join(escaped)}"'
