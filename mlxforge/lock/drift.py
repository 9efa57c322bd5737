"""What moved between a lock and what holds now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlxforge.lock.model import Lock, LockedFile, LockedSource, LockedText, LockedWidths

__all__ = ["Moved", "drift"]


@dataclass(frozen=True)
class Moved:
    """A fact of the lock, by its path in the file; None where it is not there."""

    fact: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        return f"{self.fact}: {_short(self.before)} -> {_short(self.now)}"


def drift(lock: Lock, now: Lock) -> list[Moved]:
    """Every fact of ``lock`` that ``now`` has otherwise, in the file's order.

    Models are compared for the backends that ``now`` has.
    """
    found = [*_one("recipe", lock.recipe, now.recipe)]
    found += _each("tools", lock.tools, now.tools)
    found += _source(lock.source, now.source)
    for label in sorted(lock.texts.keys() | now.texts.keys()):
        found += _text(f"texts.{label}", lock.texts.get(label), now.texts.get(label))
    found += _widths(lock.widths, now.widths)
    for backend, model in now.models.items():
        if backend in lock.models:
            found += _one(f"models.{backend}.digest", lock.models[backend].digest, model.digest)
    return found


def _widths(before: LockedWidths | None, now: LockedWidths | None) -> Iterator[Moved]:
    """Layer by layer only where there are two choices to compare."""
    if before is None or now is None:
        yield from _one("widths", *(_told(widths) for widths in (before, now)))
        return
    yield from _one("widths.recipe", before.recipe, now.recipe)
    bits = [{path: str(bits) for path, bits in w.layers.items()} for w in (before, now)]
    yield from _each("widths.layers", *bits)


def _told(widths: LockedWidths | None) -> str | None:
    if widths is None:
        return None
    return f"{len(widths.layers)} layers in {widths.bits_per_weight:.2f} bits per weight"


def _source(before: LockedSource | None, now: LockedSource | None) -> Iterator[Moved]:
    for part in ("repo", "revision", "commit", "loader"):
        yield from _one(f"source.{part}", getattr(before, part, None), getattr(now, part, None))
    wanted = [str(source.further) or None if source else None for source in (before, now)]
    yield from _one("source.further", *wanted)
    yield from _files("source", before.files if before else {}, now.files if now else {})


def _text(
    name: str, before: LockedText | LockedFile | None, now: LockedText | LockedFile | None
) -> Iterator[Moved]:
    if not (isinstance(before, LockedText) and isinstance(now, LockedText)):
        yield from _one(name, _whole(before), _whole(now))
        return
    for part in ("config", "split", "revision", "commit"):
        yield from _one(f"{name}.{part}", getattr(before, part), getattr(now, part))
    yield from _files(name, before.files, now.files)


def _whole(text: LockedText | LockedFile | None) -> str | None:
    """A text in one word, where there is no other to compare it with part by part."""
    if isinstance(text, LockedText):
        return f"{text.commit} ({text.config}, {text.split})"
    return _content(vars(text)) if text else None


def _files(
    name: str, before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> Iterator[Moved]:
    yield from _each(
        f"{name}.files",
        {file: _content(fact) for file, fact in before.items()},
        {file: _content(fact) for file, fact in now.items()},
    )


def _content(fact: Mapping[str, Any]) -> str:
    return f"{fact.get('sha256') or fact['git_sha1']} ({fact['size']} bytes)"


def _each(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Moved]:
    for name in sorted(before.keys() | now.keys()):
        yield from _one(f"{what}.{name}", before.get(name), now.get(name))


def _one(fact: str, before: str | None, now: str | None) -> Iterator[Moved]:
    if before != now:
        yield Moved(fact, before, now)


def _short(value: str | None) -> str:
    """A digest by its first twelve digits, with what follows it."""
    if value is None:
        return "(nothing)"
    digest, _, rest = value.partition(" ")
    shown = digest[:12] if len(digest) in (40, 64) else digest
    return f"{shown} {rest}".strip()
