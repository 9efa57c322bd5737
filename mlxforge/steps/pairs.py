"""pairs: which layers can hand a scale to which, from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep

__all__ = ["FindPairs"]


@dataclass(frozen=True)
class FindPairs(SourceStep):
    """``source``, a model's folder or one of heads -> ``pairs.json`` (see
    mlxforge.models.layers.pairs)."""

    kind = "pairs"
    version = 2
    tools = ("mlx", "mlx-lm")

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.calibrate.pairing.finder import pairs_of

        found = pairs_of(inputs["source"])
        (out / "pairs.json").write_text(found.dumps())
        progress(len(found.pairs), len(found.pairs), "pairs")
