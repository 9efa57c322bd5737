"""From a recipe's rules to one decision per layer, or an error that names rule and layers.

The first rule that matches a layer decides it; one that is protected only if the rule names it (see
``guards``). A head that is the embeddings is decided where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from mlxforge.errors import ForgeError, Position
from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.guards import as_tied, guarded, names, protected
from mlxforge.models.layers.refusals import check_groups, check_rules
from mlxforge.models.layers.table import Layer, LayerTable
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import ROLES

__all__ = ["CHOSEN", "UNCHOSEN", "Assignment", "affine_schemes", "assign", "is_free"]

DEFAULT = "default"
CHOSEN = "dynamic"
UNCHOSEN = "dynamic, not chosen yet"
"""Reasons: of a layer that nothing decides, of bits that were chosen, of bits that will be."""


def assign(table: LayerTable, quantize: Quantize) -> tuple[Assignment, ...]:
    """One decision per layer, in the table's order. Raises ForgeError at the first rule that
    cannot be what its author meant, and where widths were chosen for other layers than those that
    neither a rule nor a guard decides.
    """
    if quantize.method == "none":
        return tuple(Assignment(layer, None, "method none") for layer in table.layers)
    matches = [_matched(rule, table) for rule in quantize.overrides]
    decided = {layer.path: _decide(layer, quantize, matches) for layer in table.layers}
    if quantize.widths is not None:
        decided = _chosen(decided, dict(quantize.widths), quantize.at)
    for layer in table.layers:
        if layer.tied is not None:
            decided[layer.path] = as_tied(layer, decided[layer.tied])
    check_rules(quantize.overrides, matches, decided)
    assignments = tuple(decided.values())
    check_groups(assignments, quantize)
    if not any(assignment.scheme for assignment in assignments):
        raise ForgeError(
            f"nothing would be quantized: none of the {len(assignments)} layers is left",
            "use `method: none` to change only the dtype",
            at=quantize.at,
        )
    return assignments


def is_free(assignment: Assignment) -> bool:
    """Whether neither a rule nor a guard decides the layer, so that its bits can be chosen."""
    return assignment.reason == DEFAULT and assignment.scheme is not None


def affine_schemes(assignments: Iterable[Assignment]) -> dict[str, Scheme]:
    """By path, of the layers whose scales and biases can be chosen."""
    schemes = {entry.layer.path: entry.scheme for entry in assignments}
    return {path: scheme for path, scheme in schemes.items() if scheme and scheme.mode == "affine"}


def _chosen(
    decided: Mapping[str, Assignment], widths: Mapping[str, int], at: Position | None
) -> dict[str, Assignment]:
    free = {
        path: entry.scheme
        for path, entry in decided.items()
        if is_free(entry) and not entry.layer.tied and entry.scheme
    }
    if other := sorted(free.keys() ^ widths.keys()):
        what = "there are none for" if other[0] in free else "there are some for"
        raise ForgeError(
            f"the widths in the lock are for other layers than these: {what} {other[0]}",
            "`doit lock --upgrade NAME`, and the next build chooses anew",
            at=at,
        )
    chosen = {
        path: replace(decided[path], scheme=replace(scheme, bits=widths[path]), reason=CHOSEN)
        for path, scheme in free.items()
    }
    return {**decided, **chosen}


def _matched(rule: Override, table: LayerTable) -> set[str]:
    layers = [layer for layer in table.layers if layer.tied is None]
    if rule.layers in ROLES:
        return {layer.path for layer in layers if layer.role == rule.layers}
    return {layer.path for layer in layers if fnmatchcase(layer.path, rule.layers)}


def _decide(layer: Layer, quantize: Quantize, matches: list[set[str]]) -> Assignment:
    if not layer.quantizable:
        return Assignment(layer, None, "not quantizable")
    scheme = Scheme(quantize.bits, quantize.group_size, quantize.mode)
    default = Assignment(layer, scheme, DEFAULT, quantize.at)
    wished = [
        (rule, Assignment(layer, _scheme(rule), rule.layers, rule.at))
        for rule, matched in zip(quantize.overrides, matches, strict=True)
        if layer.path in matched
    ]
    if not protected(layer):
        return wished[0][1] if wished else default
    for rule, found in wished:
        if names(rule, layer):
            return found
    return guarded(layer, default, wished[0][1] if wished else default)


def _scheme(rule: Override) -> Scheme | None:
    return Scheme(rule.bits, rule.group_size, rule.mode) if rule.quantize else None
