"""heads: codes for the layers whose outputs are logits; the rest of a model is only searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.steps.gptq import Gptq

__all__ = ["Heads"]

HEADS = ("lm_head", "embeddings")


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
        from mlxforge.calibrate.memory import check_room
        from mlxforge.models.scoring.leaves.fixed import has_matrix
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter

        table, assignments = self.decide(inputs, HEADS)
        check_room(self.kind, table)
        chosen = [entry for entry in assignments if entry.scheme]
        solver = Solver(chosen, table.cast(self.dtype), self.settings(Settings))
        model = load_for_scoring(inputs["source"], keep=False, exact=True)
        modules = dict(getattr(model, "whole", model).named_modules())
        writer = ChosenWriter(out, inputs["checkpoints"])
        codes = Codes(writer, solver)
        known = read_heads(inputs["calibration"])
        for done, (path, moments) in enumerate(known.items(), start=1):
            owners = [each for each in (path, *codes.copies.get(path, ())) if each in modules]
            module = next((modules[each] for each in owners if has_matrix(modules[each])), None)
            if module is not None and path in solver.paths and codes.recall(path) is None:
                codes.keep(path, [solver.solve_head(path, module, moments)])
            progress(done, len(known), "heads")
        writer.finish()
        return {}
