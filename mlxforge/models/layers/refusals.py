"""Rules and group sizes that cannot be what their author meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from mlxforge.errors import ForgeError, Position, did_you_mean
from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.guards import GUARDED
from mlxforge.models.layers.table import Layer
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.model import Override, Quantize
from mlxforge.recipe.modes import MODES, ROLES

__all__ = ["check_groups", "check_rules"]

NAMED = 3  # patterns of layers


def check_rules(
    rules: Sequence[Override], matches: Sequence[set[str]], decided: Mapping[str, Assignment]
) -> None:
    """Raises ForgeError at the first rule that matches nothing or decides nothing."""
    for rule, matched in zip(rules, matches, strict=True):
        if not matched:
            raise _matches_nothing(rule, decided)
        value = f"override {rule.layers!r}"
        able = {path for path in matched if decided[path].layer.quantizable}
        if not able:
            raise ForgeError(
                f"{value} matches only layers that cannot be quantized, such as {min(matched)}",
                "leave the rule out: these stay as they are",
                at=rule.at,
            )
        if any(decided[path].at == rule.at for path in able):
            continue
        places = {other.at for other in rules}
        earlier = {str(decided[path].at) for path in able if decided[path].at in places}
        if earlier:
            raise ForgeError(
                f"{value} has no effect: {', '.join(sorted(earlier))} decides all its layers",
                "the first match wins: put the narrower rule first",
                at=rule.at,
            )
        role = decided[min(able)].layer.role
        by_role = f"`layers: {role}` or " if role in GUARDED else ""
        raise ForgeError(
            f"{value} matches only protected layers, such as {min(able)}",
            f"name them: {by_role}`layers: '{min(able)}'`",
            at=rule.at,
        )


def _matches_nothing(rule: Override, decided: Mapping[str, Assignment]) -> ForgeError:
    value = f"override {rule.layers!r}"
    present = sorted({entry.layer.role for entry in decided.values() if not entry.layer.tied})
    heads = [path for path, entry in decided.items() if entry.layer.tied]
    head = fnmatchcase("lm_head", rule.layers.rsplit(".", 1)[-1])
    tied = "lm_head" not in present and "embeddings" in present
    if tied and (head or any(fnmatchcase(path, rule.layers) for path in heads)):
        return ForgeError(
            f"{value} has nothing of its own to decide: the model's head is its embeddings",
            "write the rule for `layers: embeddings`",
            at=rule.at,
        )
    if rule.layers in ROLES:
        hint = f"the model has: {', '.join(present)}"
    else:
        close = did_you_mean(rule.layers, [*decided, *present])
        hint = close or f"a role ({', '.join(present)}) or a glob such as '{_some(decided)}'"
    return ForgeError(f"{value} matches no layer", hint, at=rule.at)


def _some(decided: Mapping[str, Assignment]) -> str:
    path = next(path for path, entry in decided.items() if entry.layer.quantizable)
    return f"{path.rsplit('.', 1)[0]}.*" if "." in path else path


def check_groups(assignments: Sequence[Assignment], quantize: Quantize) -> None:
    """Raises ForgeError at the first rule, or the section, whose group size does not divide all of
    its layers."""
    failing = [entry for entry in assignments if not _divides(entry)]
    if not failing:
        return
    at, scheme = failing[0].at, failing[0].scheme
    assert scheme is not None
    patterns: dict[str, int] = {}
    for entry in failing:
        if (entry.at, entry.scheme) == (at, scheme):
            patterns.setdefault(_alike(entry.layer, assignments), entry.layer.weight.shape[-1])
    raise _does_not_divide(patterns, scheme, at or quantize.at)


def _does_not_divide(
    patterns: Mapping[str, int], scheme: Scheme, at: Position | None
) -> ForgeError:
    size = scheme.group_size
    named = list(patterns.items())[:NAMED]
    more = f" and of {len(patterns) - NAMED} more" if len(patterns) > NAMED else ""
    told = ", ".join(f"the {columns} columns of {path}" for path, columns in named)
    works = [
        str(other)
        for other in sorted(MODES[scheme.mode].group_sizes, reverse=True)
        if not any(columns % other for columns in patterns.values())
    ]
    them = "it" if len(patterns) == 1 else "all of them"
    smaller = f"group_size {' or '.join(works)} divides {them}; or " if works else ""
    rules = ", ".join(f"`layers: '{path}'`" for path, _ in named)
    add = f"add a rule {rules}" if len(patterns) == 1 else f"add rules such as {rules}"
    return ForgeError(
        f"group_size {size} does not divide {told}{more}",
        f"{smaller}{add} with `quantize: false`",
        at=at,
    )


def _divides(assignment: Assignment) -> bool:
    scheme = assignment.scheme
    return scheme is None or assignment.layer.weight.shape[-1] % scheme.group_size == 0


def _alike(layer: Layer, assignments: Sequence[Assignment]) -> str:
    """The layer in every block, where it fits in none of them; else its own path."""
    glob = re.sub(r"(?<=\.)\d+(?=\.)", "*", layer.path)
    same = [entry for entry in assignments if fnmatchcase(entry.layer.path, glob)]
    return glob if len(same) > 1 and not any(map(_divides, same)) else layer.path
