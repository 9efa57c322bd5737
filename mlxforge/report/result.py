"""The figures of a finished build, read from its artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlxforge.plan import Plan
from mlxforge.project import Project

__all__ = ["figures_of", "overlap_figures", "untold_of"]


def figures_of(project: Project, plan: Plan) -> dict[str, Any]:
    """Size in bytes, bits per weight, what calibration told nothing of, what evaluate
    found, how far the texts overlap; nothing is recomputed."""
    made = _read(project.path_of(plan.quantize) / "mlxforge.json")
    figures: dict[str, Any] = {
        "bytes": made["bytes"],
        "bits_per_weight": made["bits_per_weight"],
    }
    if untold := untold_of(made["layers"].values()):
        figures["without_calibration"] = untold
    if plan.evaluate is not None:
        figures |= _read(project.path_of(plan.evaluate) / "result.json")
    return figures | overlap_figures(project, plan)


def untold_of(layers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many layers, and how many experts, were rounded without the text, if any were."""
    counts = {"layers": 0, "experts": 0}
    for entry in layers:
        counts["layers"] += "without_calibration" in entry
        counts["experts"] += len(entry.get("experts_without_calibration", ()))
    return {what: count for what, count in counts.items() if count}


def overlap_figures(project: Project, plan: Plan) -> dict[str, Any]:
    """What was found of the recipe's two texts, under ``overlap``; empty where it has but one."""
    if plan.overlap is None:
        return {}
    return {"overlap": _read(project.path_of(plan.overlap) / "overlap.json")}


@lru_cache
def _read(path: Path) -> Any:
    """A file of an artifact, which never changes; many recipes may have made the same model."""
    return json.loads(path.read_bytes())
