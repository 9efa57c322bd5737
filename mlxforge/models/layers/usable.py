"""Which pairs a recipe leaves to awq: both ends have to be its to change."""

from __future__ import annotations

from collections.abc import Iterable

from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.pairs import ROWS, Pair, Pairs

__all__ = ["usable"]


def usable(pairs: Pairs, assignments: Iterable[Assignment]) -> Pairs:
    """The pairs that what is to be quantized allows, and why the others are not used."""
    entries = {entry.layer.path: entry for entry in assignments}
    kept: list[Pair] = []
    without = dict(pairs.without)
    for pair in pairs.pairs:
        projections = (pair.scaler, *pair.readers) if pair.kind == ROWS else (*pair.readers,)
        reasons = [reason for path in projections if (reason := _obstacle(entries[path]))]
        if reasons:
            without[pair.scaler] = reasons[0]
        else:
            kept.append(pair)
    return Pairs(tuple(kept), without)


def _obstacle(entry: Assignment) -> str | None:
    layer, scheme = entry.layer, entry.scheme
    if layer.tied is not None:
        return f"{layer.path} is {layer.tied}"
    if layer.quantizable and scheme is None:
        return f"{layer.path} is left as it is"
    if scheme is not None and scheme.mode != "affine":
        return f"{layer.path} gets mode {scheme.mode}, whose scales are given"
    if layer.role == "lm_head" and scheme is not None:
        return f"{layer.path} is a head, whose codes are chosen before"
    return None
