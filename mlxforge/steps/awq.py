"""awq: scales between layers that make what matters larger before it is rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from mlxforge.models.source.loader import Loader
from mlxforge.progress import Progress
from mlxforge.recipe.methods import Awq as Settings
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.quantize import Quantize

__all__ = ["Awq"]


@dataclass(frozen=True)
class Awq(Quantize):
    """``source``, ``layers``, ``pairs``, ``calibration`` -> the packed weights and changed norms
    (see mlxforge.models.writing.chosen). The rest is for ``quantize``, which makes the model of
    them."""

    grid: int = 20
    clip: bool = True

    kind = "awq"
    version = 1
    tools = ("mlx", "mlx-lm")
    backend = True
    blas = True
    one_blas_thread = True
    large_pages = False
    checkpoints = True

    @classmethod
    def of(
        cls,
        wanted: Wanted,
        files: tuple[str, ...] = (),
        remote_code: tuple[str, ...] = (),
        loader: Loader = "mlx_lm",
    ) -> Self:
        """Whatever else the recipe does with the weights, these are chosen alike."""
        plain = replace(wanted, method="awq", scales="search", refine="none")
        step = super().of(plain, files, remote_code, loader)
        return replace(step, **vars(wanted.awq)) if wanted.awq else step

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        import numpy as np

        from mlxforge.calibrate.awq import Scaling
        from mlxforge.calibrate.run import Run
        from mlxforge.calibrate.scalers import usable
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.layers.pairs import Pairs
        from mlxforge.models.scoring.loading import attention, load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter

        table = Inspection(inputs["layers"]).table
        assignments = assign(table, self.wanted())
        pairs, without = usable(Pairs.load(inputs["pairs"] / "pairs.json"), assignments)
        model = load_for_scoring(inputs["source"], exact=True)
        windows = np.load(inputs["calibration"] / "tokens.npy")
        kept = inputs["checkpoints"]
        writer = ChosenWriter(out, kept)
        paths = [
            entry.layer.path
            for entry in assignments
            if entry.scheme and entry.scheme.mode == "affine"
        ]
        run = Run(model, paths, windows)
        settings = Settings(self.grid, self.clip)
        cast = table.cast(self.dtype)
        scaling = Scaling(run, assignments, cast, pairs, settings, writer, kept)
        with attention():
            scaling.go(progress)
        writer.finish(notes={"pairs": scaling.notes, "without": without})
        return {}
