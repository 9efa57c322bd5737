"""inspect: what the source is made of, from its config and headers, and no weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep

__all__ = ["Inspect"]


@dataclass(frozen=True)
class Inspect(SourceStep):
    """``source``, a model's folder or one of heads -> ``layers.json``, ``parameters.tsv``,
    ``config.json`` (see mlxforge.models.layers.inspection)."""

    kind = "inspect"
    version = 3
    tools = ("mlx", "mlx-lm")

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.models.layers.inspect import inspect_source

        layers = len(inspect_source(inputs["source"], out).table.layers)
        progress(layers, layers, "layers")
