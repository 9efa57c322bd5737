"""Which guards decided otherwise than the recipe's rules would have, and how to change that."""

from __future__ import annotations

from collections.abc import Iterable

from mlxforge.models.layers.assignment import Assignment

__all__ = ["guard_lines"]


def guard_lines(assignments: Iterable[Assignment]) -> list[str]:
    """A line per guard and what it did: ``2 router layers kept at 8 bits (a rule ...)``."""
    groups: dict[tuple[str, str], list[Assignment]] = {}
    for entry in assignments:
        if entry.guard is not None:
            groups.setdefault((entry.guard, _outcome(entry)), []).append(entry)
    return [_line(guard, outcome, members) for (guard, outcome), members in groups.items()]


def _outcome(entry: Assignment) -> str:
    if entry.guard == "tied":
        return f"packed like {entry.layer.tied}, whose weight it is"
    return f"kept at {entry.scheme.bits} bits" if entry.scheme else "left unquantized"


def _line(guard: str, outcome: str, members: list[Assignment]) -> str:
    layers = "layer" if len(members) == 1 else "layers"
    path = members[0].layer.path
    if guard == "tied":
        return f"{path} {outcome}"
    if guard == "architecture":
        name = path.rpartition(".")[2]
        return (
            f"{len(members):,} {layers} {outcome}, as the architecture says (a rule that names "
            f"them, such as `layers: '*.{name}'`, changes that)"
        )
    return (
        f"{len(members):,} {guard} {layers} {outcome} (a rule for `layers: {guard}` changes that)"
    )
