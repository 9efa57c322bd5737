"""``evaluate.require``: limits that a build must keep."""

from __future__ import annotations

from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.draft import Draft
from mlxforge.recipe.model import Requirement

__all__ = ["requirements"]

_MEASURED_BY = {"perplexity_increase": "perplexity"}


def requirements(draft: Draft) -> tuple[Requirement, ...]:
    """The gates, in the schema's order; ForgeError for one that nothing would measure."""
    values = draft.document["evaluate"]
    gates = {key: value for key, value in values["require"].items() if value is not None}
    return tuple(_requirement(draft, gate, value) for gate, value in gates.items())


def _requirement(draft: Draft, gate: str, value: Any) -> Requirement:
    path = ("evaluate", "require", gate)
    values = draft.document["evaluate"]
    if values["text"] is None:
        hint = "evaluate.text: {path: …} or {dataset: …}"
        raise draft.misplaced(f"evaluate.require.{gate} needs a text to measure", hint, *path)
    metric = _MEASURED_BY.get(gate, gate)
    if metric not in values["metrics"]:
        message = f"evaluate.require.{gate} needs {metric}, which evaluate.metrics leaves out"
        raise draft.misplaced(message, f"add {metric} to metrics", *path)
    limit = float(value[:-1]) / 100 if isinstance(value, str) else float(value)
    at = draft.at(*path)
    if gate == "top1_agreement" and limit > 1:
        raise ForgeError(f"evaluate.require.{gate} cannot be {value}", "at most 100%", at)
    return Requirement(metric=gate, limit=limit, written=draft.written(*path), at=at)
