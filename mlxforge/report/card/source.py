"""What the source's own card says, as far as it can be believed.

A card is written by anybody, and may be broken on purpose. Its YAML is read as a stream of events
and never composed (see mlxforge.front_matter). Wanted are texts and lists of texts under a few
top-level keys; what is of another type or does not look like a value of its key is left out, and so
is everything where the block is no YAML mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from mlxforge.errors import ForgeError, Position
from mlxforge.front_matter import front_matter_block, yaml_events
from mlxforge.recipe.scalars import resolve

__all__ = ["SourceCard", "read_source_card"]

MOST_CHARACTERS = 1 << 20
MOST_LEVELS = 65
MOST_TAGS = 50

_FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_NOWHERE = Position("README.md", 1, 1)

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}", re.IGNORECASE | re.ASCII)
_LICENSE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}")
_LICENSE_LINK = re.compile(r"https?://[!#-;=?-\[\]_a-z~]{1,300}|[A-Za-z0-9._-]{1,200}")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_PIPELINE_TAG = re.compile(r"[a-z0-9-]{1,60}")
_TAG = re.compile(rf"[^{_REPLACED}]{{1,100}}")

_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


@dataclass(frozen=True)
class SourceCard:
    """Each value is one printable line. ``license_link`` is an address or a file's name."""

    license: tuple[str, ...] = ()
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    tags: tuple[str, ...] = ()


def read_source_card(text: str) -> SourceCard:
    """The front matter of ``text``, a README.md. Whatever the text is, nothing is raised."""
    found = _top_level(text)

    def all_of(key: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        values = (value.strip() for value in found.get(key, ()) if value.isprintable())
        return tuple(dict.fromkeys(value for value in values if pattern.fullmatch(value)))

    def one_of(key: str, pattern: re.Pattern[str]) -> str | None:
        values = all_of(key, pattern)
        return values[0] if len(values) == 1 else None

    return SourceCard(
        license=tuple(map(str.lower, all_of("license", _LICENSE))),
        license_name=one_of("license_name", _LICENSE_NAME),
        license_link=one_of("license_link", _LICENSE_LINK),
        language=all_of("language", _LANGUAGE),
        pipeline_tag=one_of("pipeline_tag", _PIPELINE_TAG),
        tags=all_of("tags", _TAG)[:MOST_TAGS],
    )


def _top_level(text: str) -> dict[str, tuple[str, ...]]:
    """Each key of the front matter and the texts in its value."""
    block = front_matter_block(text[:MOST_CHARACTERS])
    if block is None:
        return {}
    try:
        return _mapping(yaml_events(_FORBIDDEN.sub(_REPLACED, block), MOST_LEVELS))
    except (yaml.YAMLError, ValueError, OverflowError):
        return {}


def _mapping(events: Iterator[Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    next(events)  # the stream's start
    if type(next(events)) is not yaml.DocumentStartEvent:
        return {}
    if type(next(events)) is not yaml.MappingStartEvent:
        return {}
    while type(event := next(events)) is not yaml.MappingEndEvent:
        key = _texts(event, events)
        value = _texts(next(events), events)
        if type(event) is yaml.ScalarEvent and key:
            # of a key that is written twice nobody knows which was meant
            found[key[0]] = () if key[0] in found else value
    for _ in events:  # what follows may be no YAML
        pass
    return found


def _texts(event: Any, events: Iterator[Any]) -> tuple[str, ...]:
    """The value that begins with ``event``: its own text, or the texts that a list has."""
    texts = [_text(event)]
    depth = int(isinstance(event, _STARTS))
    while depth:
        inner = next(events)
        depth += isinstance(inner, _STARTS) - isinstance(inner, _ENDS)
        if depth == 1 and type(event) is yaml.SequenceStartEvent and event.tag is None:
            texts.append(_text(inner))
    return tuple(text for text in texts if text is not None)


def _text(event: Any) -> str | None:
    """A scalar's text; None for what is no scalar, has a tag, or reads as a number or a word
    such as ``true``, in quotes too: the next reader may see it without them."""
    if type(event) is not yaml.ScalarEvent or event.tag is not None:
        return None
    try:
        value = resolve(event.value, _NOWHERE)
    except ForgeError:
        return None
    return value if isinstance(value, str) else None
