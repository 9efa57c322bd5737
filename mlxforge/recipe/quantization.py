"""The ``quantize`` section: whether method, mode, bits and groups go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.draft import Draft
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import MODES
from mlxforge.recipe.words import dotted

__all__ = ["quantization"]


def quantization(draft: Draft) -> Quantize:
    """The section with every value filled in.

    For the method ``none`` bits, group size and mode are the defaults and mean nothing.
    """
    values = draft.document["quantize"]
    if values["method"] == "none":
        _refuse_for_none(draft)
    _check_mode(draft, values, ("quantize",))
    overrides = tuple(_override(draft, number) for number in range(len(values["overrides"])))
    at = draft.at("quantize") if draft.wrote("quantize") else None
    return Quantize(**{**values, "overrides": overrides}, at=at)


def _refuse_for_none(draft: Draft) -> None:
    for key in ("bits", "group_size", "mode", "scales", "refine", "overrides"):
        # An empty list of rules is how a child drops its parent's.
        if draft.wrote("quantize", key) and draft.document["quantize"][key] != []:
            message = f"quantize.{key} has no place with method none"
            raise draft.misplaced(message, "none only converts to a dtype", "quantize", key)


def _override(draft: Draft, number: int) -> Override:
    path = ("quantize", "overrides", number)
    rule = draft.document["quantize"]["overrides"][number]
    if not rule["quantize"]:
        for key in ("bits", "group_size", "mode"):
            if draft.wrote(*path, key):
                message = f"{dotted((*path, key))} has no place beside quantize: false"
                raise draft.misplaced(message, "leave out one of the two", *path, key)
    _check_mode(draft, rule, path)
    return Override(**rule, at=draft.at(*path))


def _check_mode(draft: Draft, values: Mapping[str, Any], path: tuple[str | int, ...]) -> None:
    """ForgeError where the mode lacks the bits or the group size, at the value."""
    has = MODES[values["mode"]]
    for key, own in (("bits", has.bits), ("group_size", has.group_sizes)):
        value = values[key]
        if value in own:
            continue
        others = [
            name
            for name, mode in MODES.items()
            if value in (mode.bits if key == "bits" else mode.group_sizes)
        ]
        name = dotted((*path, key))
        message = f"{name} is {value}, which the mode {values['mode']} does not have"
        hint = f"it has {', '.join(map(str, sorted(own)))}; {value}: {', '.join(others)}"
        raise ForgeError(message, hint, draft.at(*path, key))
