"""heads: codes for the layers whose outputs are logits; the rest of a model is only searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.steps.gptq import Gptq

__all__ = ["Heads"]


@dataclass(frozen=True)
class Heads(Gptq):
    """``source``, ``layers``, ``calibration`` -> the packed weights of heads, and of embeddings
    that are heads too, as gptq's defaults would have them (see mlxforge.models.writing.chosen)."""

    kind = "heads"
    version = 1

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        from mlxforge.calibrate.gptq.codes import Codes
        from mlxforge.calibrate.gptq.solver import Solver
        from mlxforge.calibrate.head import read_heads
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.scoring.leaves.fixed import has_matrix
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter

        table = Inspection(inputs["layers"]).table
        chosen = [entry for entry in assign(table, self.wanted()) if entry.scheme]
        solver = Solver(chosen, table.cast(self.dtype), self.settings(Settings))
        model = load_for_scoring(inputs["source"], keep=False, exact=True)
        modules = dict(getattr(model, "whole", model).named_modules())
        heads = {
            path: moments
            for path, moments in read_heads(inputs["calibration"]).items()
            if path in solver.paths and has_matrix(modules[path])
        }
        writer = ChosenWriter(out, inputs["checkpoints"])
        codes = Codes(writer, solver)
        for done, (path, moments) in enumerate(heads.items(), start=1):
            if codes.recall(path) is None:
                codes.keep(path, [solver.solve_head(path, modules[path], moments)])
            progress(done, len(heads), "heads")
        writer.finish()
        return {}
