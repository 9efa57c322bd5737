"""`evaluate.require`: a build that misses a gate fails, with the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.model import Recipe, Requirement

__all__ = ["check_gates"]


def check_gates(recipe: Recipe, figures: Mapping[str, Any], model: Path) -> None:
    """Raises ForgeError for the gates that were missed. ``model`` stays where it is."""
    missed = []
    first: Requirement | None = None
    for gate in recipe.evaluate.require if recipe.evaluate else ():
        value = measured(gate.metric, figures)
        least = gate.metric == "top1_agreement"
        if not (value >= gate.limit if least else value <= gate.limit):
            first = first or gate
            bound = "at least" if least else "at most"
            shown = f"{value:.2%}" if gate.written.endswith("%") else f"{value:.4g}"
            missed.append(f"{gate.metric} is {shown}, required {bound} {gate.written}")
    if first:
        raise ForgeError("; ".join(missed), f"the model stays for inspection: {model}", at=first.at)


def measured(metric: str, figures: Mapping[str, Any]) -> float:
    """The figure that a gate on ``metric`` looks at."""
    found = figures["figures"]
    if metric == "perplexity":
        return float(found["perplexity"]["value"])
    if metric == "perplexity_increase":
        source = figures["baseline"]["perplexity"]["value"]
        return float(found["perplexity"]["value"] / source - 1)
    if metric == "kl_divergence":
        return float(found["kl_divergence"]["mean"])
    return float(found["top1_agreement"])
