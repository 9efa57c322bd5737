"""Which one field of a config, changed, would make its model fit the tensors: found by trying.

A width or a count that differs is a pair (what config.json makes of it, what the files hold). The
fields that could have made the one are set so that they would make the other, a model is made of
each such config (no weight is computed), and what fits without a rest is told.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.models.source.comparison import Comparison, Files, compare

__all__ = ["Change", "changes_of_count", "changes_that_fit"]

MOST_TRIED = 24
Pair = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """A field of config.json by its path; ``old`` None where it is not there."""

    field: tuple[str, ...]
    old: int | bool | None
    new: int | bool

    def __str__(self) -> str:
        instead = "" if self.old is None else f" instead of {json.dumps(self.old)}"
        return f"{'.'.join(self.field)} {json.dumps(self.new)}{instead}"


def changes_that_fit(
    folder: Path, config: Mapping[str, Any], files: Files, found: Comparison
) -> list[Change]:
    """Changes of one field after which nothing is missing, left over or of another shape."""
    unnamed = bool(found.missing or found.extra)
    return _fitting(folder, config, files, _candidates(config, set(_pairs(found)), unnamed))


def changes_of_count(
    folder: Path, config: Mapping[str, Any], files: Files, lacking: str
) -> list[Change]:
    """The same where the loader found no tensor ``lacking``, whose number is beyond those held."""
    held = _numbered(name for tensors in files.values() for name in tensors)
    pairs = {
        (value, held[place])
        for place, number in _places(lacking)
        for _, value in _fields(config)
        if type(value) is int and held.get(place, 0) and held[place] <= number < value
    }
    return _fitting(folder, config, files, _candidates(config, pairs, False))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """How many there are at each numbered place, such as ``model.layers``: 28."""
    counts: dict[str, int] = {}
    for name in names:
        for place, number in _places(name):
            counts[place] = max(counts.get(place, 0), number + 1)
    return counts


def _places(name: str) -> Iterator[tuple[str, int]]:
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if part.isdigit():
            yield ".".join("*" if p.isdigit() else p for p in parts[:depth]), int(part)


def _pairs(found: Comparison) -> Iterator[Pair]:
    for name in found.unequal:
        expected, held = found.expected[name], found.held[name]
        if len(expected) == len(held):
            yield from ((a, b) for a, b in zip(expected, held, strict=True) if a != b)
    counts, counted = _numbered(found.expected), _numbered(found.held)
    for place in counts.keys() & counted.keys():
        if counts[place] != counted[place]:
            yield counts[place], counted[place]


def _fields(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from (((key, *path), inner) for path, inner in _fields(value))
        else:
            yield (key,), value


def _candidates(
    config: Mapping[str, Any], pairs: set[Pair], switches: bool
) -> tuple[list[Change], list[Change]]:
    """Fields that are the width itself, and switches; then fields that are a factor of it."""
    exact, factors, flipped = [], [], []
    for path, value in _fields(config):
        if isinstance(value, bool):
            flipped.append(Change(path, value, not value))
        elif type(value) is int and value > 0 and not path[-1].endswith("_token_id"):
            for expected, held in sorted(pairs):
                if expected == value:
                    exact.append(Change(path, value, held))
                elif expected and value * held % expected == 0 and value * held:
                    factors.append(Change(path, value, value * held // expected))
    if "tie_word_embeddings" not in config:
        flipped += [Change(("tie_word_embeddings",), None, tied) for tied in (True, False)]
    likely = dict.fromkeys([*exact, *(flipped if switches else ())])
    return list(likely)[:MOST_TRIED], list(dict.fromkeys(factors))[:MOST_TRIED]


def _fitting(
    folder: Path,
    config: Mapping[str, Any],
    files: Files,
    tiers: tuple[list[Change], list[Change]],
) -> list[Change]:
    """Of the first tier in which any change fits, all that do."""
    for changes in tiers:
        if fitting := [change for change in changes if _fits(folder, config, files, change)]:
            return fitting
    return []


def _fits(folder: Path, config: Mapping[str, Any], files: Files, change: Change) -> bool:
    with tempfile.TemporaryDirectory() as made:
        other = Path(made)
        for path in folder.iterdir():
            if path.name != "config.json":
                (other / path.name).symlink_to(path.absolute())
        (other / "config.json").write_text(json.dumps(_changed(config, change.field, change.new)))
        try:
            return compare(other, files).differences == 0
        except Exception:  # whatever a loader makes of a config that nobody wrote
            return False


def _changed(config: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**config, first: _changed(config[first], tuple(rest), value) if rest else value}
