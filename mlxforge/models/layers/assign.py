"""From a recipe's rules to one decision per layer, or an error that names rule and layers.

A layer is *protected* where the architecture's own predicate does not simply say yes, where it
is a router (kept at 8 bits or more) or belongs to a vision or audio tower or its projector (kept
as it is). A rule decides a protected layer only if it names it: by the role ``router``,
``vision``, ``audio`` or ``projector``, or by a glob whose last component has no wildcard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlxforge.errors import ForgeError, Position, did_you_mean
from mlxforge.models.layers.table import Layer, LayerTable
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import ROLES

__all__ = ["Assignment", "assign"]

GUARDED_TOWERS = ("vision", "audio", "projector")
ROUTER_BITS = 8


@dataclass(frozen=True)
class Assignment:
    """What becomes of a layer (``scheme`` None: stays as it is) and what decided that."""

    layer: Layer
    scheme: Scheme | None
    reason: str
    at: Position | None = None


def assign(table: LayerTable, quantize: Quantize) -> tuple[Assignment, ...]:
    """One decision per layer, in the table's order. Raises ForgeError at the first rule that
    cannot be what its author meant."""
    if quantize.method == "none":
        return tuple(Assignment(layer, None, "method none") for layer in table.layers)
    matches = [_matched(rule, table) for rule in quantize.overrides]
    decided = {layer.path: _decide(layer, quantize, matches) for layer in table.layers}
    _check_rules(quantize.overrides, matches, decided)
    assignments = tuple(decided.values())
    for assignment in assignments:
        _check_divides(assignment, quantize, assignments)
    if not any(assignment.scheme for assignment in assignments):
        raise ForgeError(
            f"nothing would be quantized: none of the {len(assignments)} layers is left",
            "use `method: none` to change only the dtype",
            at=quantize.at,
        )
    return assignments


def _matched(rule: Override, table: LayerTable) -> set[str]:
    if rule.layers in ROLES:
        return {layer.path for layer in table.layers if layer.role == rule.layers}
    return {layer.path for layer in table.layers if fnmatchcase(layer.path, rule.layers)}


def _names(rule: Override, layer: Layer) -> bool:
    """Whether the rule means this very layer, and not only a region that it lies in."""
    if rule.layers in ROLES:
        return rule.layers in (*GUARDED_TOWERS, "router")
    return not any(sign in rule.layers.rsplit(".", 1)[-1] for sign in "*?[")


def _protected(layer: Layer) -> bool:
    return layer.own_rule is not True or layer.role in (*GUARDED_TOWERS, "router")


def _decide(layer: Layer, quantize: Quantize, matches: list[set[str]]) -> Assignment:
    if not layer.quantizable:
        return Assignment(layer, None, "not quantizable")
    for rule, matched in zip(quantize.overrides, matches, strict=True):
        if layer.path in matched and (not _protected(layer) or _names(rule, layer)):
            scheme = Scheme(rule.bits, rule.group_size, rule.mode) if rule.quantize else None
            return Assignment(layer, scheme, rule.layers, rule.at)
    default = Scheme(quantize.bits, quantize.group_size, quantize.mode)
    if layer.role in GUARDED_TOWERS:
        return Assignment(layer, None, f"{layer.role} stays as it is")
    if layer.own_rule is False:
        return Assignment(layer, None, "the architecture's own rule")
    if isinstance(layer.own_rule, Mapping):
        return Assignment(layer, _own_scheme(layer.own_rule), "the architecture's own rule")
    if layer.role == "router" and quantize.bits < ROUTER_BITS:
        divides = [size for size in (64, 32) if layer.weight.shape[-1] % size == 0]
        scheme = Scheme(ROUTER_BITS, divides[0], "affine") if divides else None
        kept = f"{ROUTER_BITS} bits" if scheme else "what they are: no group size divides them"
        return Assignment(layer, scheme, f"routers keep {kept}")
    return Assignment(layer, default, "default", quantize.at)


def _own_scheme(rule: Mapping[str, Any]) -> Scheme:
    return Scheme(
        rule.get("bits", 4), rule.get("group_size", 64), rule.get("mode", "affine"), "mode" in rule
    )


def _check_rules(
    rules: tuple[Override, ...], matches: list[set[str]], decided: Mapping[str, Assignment]
) -> None:
    present = sorted({assignment.layer.role for assignment in decided.values()})
    for rule, matched in zip(rules, matches, strict=True):
        value = f"override {rule.layers!r}"
        if not matched:
            if rule.layers in ROLES:
                hint = f"the model has: {', '.join(present)}"
            else:
                close = did_you_mean(rule.layers, [*decided, *present])
                hint = (
                    close or f"a role ({', '.join(present)}) or a glob such as '{_some(decided)}'"
                )
            raise ForgeError(f"{value} matches no layer", hint, at=rule.at)
        able = {path for path in matched if decided[path].layer.quantizable}
        if not able:
            raise ForgeError(
                f"{value} matches only layers that cannot be quantized, such as {min(matched)}",
                "leave the rule out: these stay as they are",
                at=rule.at,
            )
        if any(decided[path].at == rule.at for path in able):
            continue
        earlier = {str(decided[path].at) for path in able if decided[path].at in _places(rules)}
        if earlier:
            raise ForgeError(
                f"{value} has no effect: {', '.join(sorted(earlier))} decides all its layers",
                "the first match wins: put the narrower rule first",
                at=rule.at,
            )
        role = decided[min(able)].layer.role
        by_role = f"`layers: {role}` or " if role in (*GUARDED_TOWERS, "router") else ""
        raise ForgeError(
            f"{value} matches only protected layers, such as {min(able)}",
            f"name them: {by_role}`layers: '{min(able)}'`",
            at=rule.at,
        )


def _places(rules: tuple[Override, ...]) -> set[Position]:
    return {rule.at for rule in rules}


def _some(decided: Mapping[str, Assignment]) -> str:
    path = next(path for path, entry in decided.items() if entry.layer.quantizable)
    return f"{path.rsplit('.', 1)[0]}.*" if "." in path else path


def _check_divides(
    assignment: Assignment, quantize: Quantize, assignments: Sequence[Assignment]
) -> None:
    if _divides(assignment):
        return
    scheme, layer = assignment.scheme, assignment.layer
    assert scheme is not None
    columns = layer.weight.shape[-1]
    works = [size for size in (128, 64, 32) if columns % size == 0 and scheme.mode == "affine"]
    hint = f"group_size {' or '.join(map(str, works))} divides it; or " if works else ""
    raise ForgeError(
        f"group_size {scheme.group_size} does not divide the {columns} columns of {layer.path}",
        f"{hint}add a rule `layers: '{_alike(layer, assignments)}'` with `quantize: false`",
        at=assignment.at or quantize.at,
    )


def _divides(assignment: Assignment) -> bool:
    scheme = assignment.scheme
    return scheme is None or assignment.layer.weight.shape[-1] % scheme.group_size == 0


def _alike(layer: Layer, assignments: Sequence[Assignment]) -> str:
    """The layer in every block, where it is the same in all of them; else its own path."""
    glob = re.sub(r"(?<=\.)\d+(?=\.)", "*", layer.path)
    same = [entry for entry in assignments if fnmatchcase(entry.layer.path, glob)]
    return glob if len(same) > 1 and not any(map(_divides, same)) else layer.path
