"""The ``quantize`` section: whether method, mode, bits and groups go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.draft import Draft
from mlxforge.recipe.methods import SECTIONS, filling, sections_in_use
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import MODES
from mlxforge.recipe.words import dotted

__all__ = ["quantization"]

PLAIN_KEYS = ("bits", "group_size", "mode", "scales", "prepare", "refine", "overrides")


def quantization(draft: Draft) -> Quantize:
    """The section with every value filled in.

    For the method ``none`` bits, group size and mode are the defaults and mean nothing.
    """
    values = draft.document["quantize"]
    if values["method"] == "none":
        _refuse_for_none(draft)
    _check_mode(draft, values, ("quantize",))
    _check_methods(draft, values)
    overrides = tuple(_override(draft, number) for number in range(len(values["overrides"])))
    at = draft.at("quantize") if draft.wrote("quantize") else None
    used = sections_in_use(values)
    sections = {
        name: kind(**values[name]) if name in used else None for name, kind in SECTIONS.items()
    }
    return Quantize(**{**values, **sections, "overrides": overrides}, at=at)


def _check_methods(draft: Draft, values: Mapping[str, Any]) -> None:
    """ForgeError for a section of a method that is not in use, and for what two say at once."""
    used = sections_in_use(values)
    fills = filling(values)
    beside = {"dwq": "refine: dwq"} | ({"awq": "prepare: awq"} if fills == "gptq" else {})
    for name in SECTIONS:
        if draft.wrote("quantize", name) and name not in used:
            message = f"quantize.{name} has no place with method {values['method']}"
            hint = f"write {beside[name]}, or leave it out" if name in beside else "leave it out"
            raise draft.misplaced(message, hint, "quantize", name)
    if values["method"] == values["refine"] == "dwq":
        message = "method dwq needs no refine: dwq"
        raise draft.misplaced(message, "leave refine out", "quantize", "refine")
    if values["prepare"] != "none" and fills != "gptq":
        method = values["method"]
        message = f"quantize.prepare has no place with method {method}, only before gptq"
        hint = "use method: gptq, or leave prepare out"
        if method == "dynamic":
            message, hint = f"{message}: dynamic.method is {fills}", "say dynamic: {method: gptq}"
        raise draft.misplaced(message, hint, "quantize", "prepare")
    given = values["scales"] if draft.wrote("quantize", "scales") else None
    if given == "minmax" and fills in ("gptq", "awq"):
        message = f"quantize.scales cannot be minmax with {fills}, which searches them"
        hint = "leave scales out" + (", or say awq: {clip: false}" if fills == "awq" else "")
        raise draft.misplaced(message, hint, "quantize", "scales")
    if values["method"] != "dynamic":
        return
    if draft.wrote("quantize", "bits"):
        message = "quantize.bits has no place with method dynamic, which chooses them"
        hint = "say dynamic: {target_bits_per_weight: …}, and leave bits out"
        raise draft.misplaced(message, hint, "quantize", "bits")
    low, high = values["dynamic"]["min_bits"], values["dynamic"]["max_bits"]
    if low > high:
        path = ("quantize", "dynamic", "min_bits")
        message = f"{dotted(path)} is {low}, and max_bits {high}"
        raise ForgeError(message, "the least is at most the most", draft.at(*path))


def _refuse_for_none(draft: Draft) -> None:
    for key in (*PLAIN_KEYS, *SECTIONS):
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
