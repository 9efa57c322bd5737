"""gptq: codes for every layer, each chosen on what the quantized layers before it hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.steps.learned import Learned

__all__ = ["Gptq"]


@dataclass(frozen=True)
class Gptq(Learned):
    """``source``, ``layers``, ``calibration`` -> the packed weights of the layers that the
    calibration text reaches (see mlxforge.models.writing.chosen), with the scales between layers of
    what awq has ``prepared``, if it has. The rest is for ``quantize``, which makes the model."""

    block_size: int = 128
    damping: float = 0.03
    act_order: bool = True

    kind = "gptq"
    version = 11

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        import numpy as np

        from mlxforge.calibrate.gptq.codes import Codes
        from mlxforge.calibrate.gptq.prepared import Prepared
        from mlxforge.calibrate.gptq.sequential import quantize_in_sequence
        from mlxforge.calibrate.gptq.solver import Solver
        from mlxforge.calibrate.head import read_heads
        from mlxforge.calibrate.memory import shelf_for
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter

        table, assignments = self.decide(inputs)
        chosen = [entry for entry in assignments if entry.scheme]
        prepared = Prepared.read(inputs["prepared"]) if "prepared" in inputs else Prepared()
        settings = self.settings(Settings)
        solver = Solver(chosen, table.cast(self.dtype), settings, prepared.moved)
        windows = np.load(inputs["calibration"] / "tokens.npy")
        heads = read_heads(inputs["calibration"])
        model, source = (
            load_for_scoring(inputs["source"], keep=False, exact=True) for _ in range(2)
        )
        writer = ChosenWriter(out, inputs["checkpoints"])
        for each in (model, source):
            prepared.give(each, solver.dtypes)
        prepared.keep(writer)
        codes = Codes(writer, solver, prepared.moved)
        with shelf_for(self.kind, table, windows, out) as shelf:
            quantize_in_sequence(model, source, windows, heads, solver, codes, progress, shelf)
        writer.finish(notes=prepared.notes)
        return {}
