"""What moved between a lock and what holds now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlxforge.lock.model import Lock, LockedSource

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
    for backend, model in now.models.items():
        if backend in lock.models:
            found += _one(f"models.{backend}.digest", lock.models[backend].digest, model.digest)
    return found


def _source(before: LockedSource | None, now: LockedSource | None) -> Iterator[Moved]:
    for part in ("repo", "revision", "commit"):
        yield from _one(f"source.{part}", getattr(before, part, None), getattr(now, part, None))
    yield from _each(
        "source.files", _digests(before) if before else {}, _digests(now) if now else {}
    )


def _digests(source: LockedSource) -> dict[str, str]:
    return {
        name: f"{fact.get('sha256') or fact['git_sha1']} ({fact['size']} bytes)"
        for name, fact in source.files.items()
    }


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
