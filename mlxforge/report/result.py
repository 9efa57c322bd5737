"""The figures of a finished build, read from its artifacts."""

from __future__ import annotations

import json
from typing import Any

from mlxforge.plan import Plan
from mlxforge.project import Project

__all__ = ["figures_of"]


def figures_of(project: Project, plan: Plan) -> dict[str, Any]:
    """Size in bytes, bits per weight, and what evaluate found; nothing is recomputed."""
    made = json.loads((project.path_of(plan.quantize) / "mlxforge.json").read_bytes())
    figures: dict[str, Any] = {
        "bytes": made["bytes"],
        "bits_per_weight": made["bits_per_weight"],
    }
    if plan.evaluate is not None:
        figures |= json.loads((project.path_of(plan.evaluate) / "result.json").read_bytes())
    return figures
