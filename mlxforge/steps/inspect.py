"""inspect: what the source is made of, from its config and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Inspect"]


@dataclass(frozen=True)
class Inspect(Step):
    """``source`` -> ``layers.json``, the layer table (see mlxforge.models.layers)."""

    kind = "inspect"
    tools = ("mlx", "mlx-lm")

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.models.inspect import inspect_model
        from mlxforge.models.load import load_source

        model, config = load_source(inputs["source"])
        table = inspect_model(model, config)
        (out / "layers.json").write_text(table.dumps())
        progress(len(table.layers), len(table.layers), "layers")
