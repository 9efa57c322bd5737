"""gptq: codes for every layer, each chosen on what the quantized layers before it hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.quantize import Quantize

__all__ = ["Gptq"]


@dataclass(frozen=True)
class Gptq(Quantize):
    """``source``, ``layers``, ``calibration`` -> the packed weights of the layers that the
    calibration text reaches (see mlxforge.models.writing.chosen). The rest is for ``quantize``,
    which makes the model of them."""

    kind = "gptq"
    version = 1
    tools = ("mlx", "mlx-lm")
    backend = True
    blas = True
    large_pages = False

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        import numpy as np

        from mlxforge.calibrate.gptq import Solver
        from mlxforge.calibrate.sequential import quantize_in_sequence
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter

        table = Inspection(inputs["layers"]).table
        chosen = [entry for entry in assign(table, self.wanted()) if entry.scheme]
        solver = Solver(chosen, table.cast(self.dtype))
        model = load_for_scoring(inputs["source"], exact=True)
        windows = np.load(inputs["calibration"] / "tokens.npy")
        with ChosenWriter(out) as writer:
            quantize_in_sequence(
                model, solver.paths, windows, solver.solve,
                lambda path, entries: writer.add(path, entries, solver.schemes[path].bits),
                progress,
            )  # fmt: skip
        writer.finish(solver.unknown)
        return {}
