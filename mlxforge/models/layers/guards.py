"""Layers that a recipe must name to change them, and what becomes of them unnamed.

A layer is *protected* where the architecture's own predicate does not simply say yes, where it is a
router (kept at 8 bits or more), or belongs to a vision or audio tower or its projector (kept as it
is). A rule decides it only if it names it: by the role ``router``, ``vision``, ``audio`` or
``projector``, or by a glob whose last component has no wildcard. A guard never makes a build fail
that would do without it: where no group size fits, the layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.table import Layer
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override
from mlxforge.recipe.modes import MODES, ROLES

__all__ = ["GUARDED", "as_tied", "guarded", "names", "protected"]

TOWERS = ("vision", "audio", "projector")
GUARDED = (*TOWERS, "router")
ROUTER_BITS = 8


def protected(layer: Layer) -> bool:
    return layer.own_rule is not True or layer.role in GUARDED


def names(rule: Override, layer: Layer) -> bool:
    """Whether the rule means this very layer, and not only a region that it lies in."""
    if rule.layers in ROLES:
        return rule.layers in GUARDED
    return not any(sign in rule.layers.rsplit(".", 1)[-1] for sign in "*?[")


def guarded(layer: Layer, default: Assignment, unguarded: Assignment) -> Assignment:
    """The decision on a protected layer that no rule names.

    ``default`` is what the recipe says of layers without a rule, ``unguarded`` what would become
    of this one if it were not protected.
    """
    found = _decision(layer, default)
    return found if _equal(found, unguarded) else replace(found, guard=_guard(layer))


def as_tied(layer: Layer, other: Assignment) -> Assignment:
    """A head whose weight is the embeddings' own gets what they get: a loader that ties the two
    would read the one with the scales of the other."""
    return Assignment(layer, other.scheme, f"the weight of {other.layer.path}", other.at, "tied")


def _decision(layer: Layer, default: Assignment) -> Assignment:
    if layer.role in TOWERS:
        return Assignment(layer, None, f"{layer.role} stays as it is")
    if layer.own_rule is False:
        return Assignment(layer, None, "the architecture's own rule")
    if isinstance(layer.own_rule, Mapping):
        return _own(layer, layer.own_rule)
    assert default.scheme is not None
    if default.scheme.bits >= ROUTER_BITS:
        return default
    size = _group_size(layer, (64, 32))
    scheme = Scheme(ROUTER_BITS, size, "affine") if size else None
    kept = f"{ROUTER_BITS} bits" if scheme else "what they are: no group size divides them"
    return Assignment(layer, scheme, f"routers keep {kept}")


def _own(layer: Layer, rule: Mapping[str, Any]) -> Assignment:
    reason = "the architecture's own rule"
    scheme = Scheme(
        rule.get("bits", 4), rule.get("group_size", 64), rule.get("mode", "affine"), "mode" in rule
    )
    columns = layer.weight.shape[-1]
    size = _group_size(layer, (scheme.group_size, *sorted(MODES[scheme.mode].group_sizes)[::-1]))
    if size == scheme.group_size:
        return Assignment(layer, scheme, reason)
    told = f"{reason}; its group size {scheme.group_size} does not divide {columns} columns"
    return Assignment(layer, replace(scheme, group_size=size) if size else None, told)


def _group_size(layer: Layer, sizes: tuple[int, ...]) -> int | None:
    """The first of ``sizes`` that divides the layer's input."""
    return next((size for size in sizes if layer.weight.shape[-1] % size == 0), None)


def _equal(one: Assignment, other: Assignment) -> bool:
    if one.scheme is None or other.scheme is None:
        return one.scheme is other.scheme
    return one.scheme.packs_like(other.scheme)


def _guard(layer: Layer) -> str:
    return layer.role if layer.role in GUARDED else "architecture"
