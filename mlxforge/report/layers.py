"""The table of layers: what becomes of each and what decided it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlxforge.models.layers.assign import UNCHOSEN, Assignment
from mlxforge.models.layers.size import assignment_bytes

__all__ = ["layer_rows"]


def layer_rows(
    assignments: Sequence[Assignment], cast: str | None, every: bool
) -> list[tuple[str, ...]]:
    """Rows of pattern, role, count, shape, bits, group size, mode, bytes, decided by.

    Layers that differ only in numbers in their path share a row, unless ``every`` is asked for.
    """
    groups: dict[tuple[str, ...], list[Assignment]] = {}
    for entry in assignments:
        scheme = entry.scheme
        bits = "?" if entry.reason == UNCHOSEN else str(scheme.bits) if scheme else "-"
        packing = (bits, str(scheme.group_size), scheme.mode) if scheme else (bits, "", "")
        pattern = entry.layer.path if every else re.sub(r"\.\d+(?=\.|$)", ".*", entry.layer.path)
        reason = f"{entry.reason} ({entry.at})" if entry.at else entry.reason
        groups.setdefault((pattern, entry.layer.role, _shape(entry), *packing, reason), []).append(
            entry
        )
    return [
        (
            f"  {pattern}", role, str(len(members)), shape, bits, group, mode,
            "" if bits == "?" else f"{sum(assignment_bytes(e, cast) for e in members):,}", reason,
        )
        for (pattern, role, shape, bits, group, mode, reason), members in groups.items()
    ]  # fmt: skip


def _shape(entry: Assignment) -> str:
    tensors = entry.layer.tensors
    largest = max(tensors, key=lambda tensor: tensor.size)
    return "x".join(map(str, largest.shape))
