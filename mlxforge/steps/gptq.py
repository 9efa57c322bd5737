"""gptq: codes for every layer, each chosen on what the quantized layers before it hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.steps.learned import Learned

__all__ = ["Gptq"]


@dataclass(frozen=True)
class Gptq(Learned):
    """``source``, ``layers``, ``calibration`` -> the packed weights of the layers that the
    calibration text reaches (see mlxforge.models.writing.chosen). The rest is for ``quantize``,
    which makes the model of them."""

    block_size: int = 128
    damping: float = 0.03
    act_order: bool = True

    kind = "gptq"
    version = 3

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        import numpy as np

        from mlxforge.calibrate.gptq.sequential import quantize_in_sequence
        from mlxforge.calibrate.gptq.solver import Solver
        from mlxforge.calibrate.memory import check_room
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.memory import available_bytes
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter
        from mlxforge.quantize.affine import Affine

        table = Inspection(inputs["layers"]).table
        chosen = [entry for entry in assign(table, self.wanted()) if entry.scheme]
        solver = Solver(chosen, table.cast(self.dtype), self.settings(Settings))
        model, source = (
            load_for_scoring(inputs["source"], keep=False, exact=True) for _ in range(2)
        )
        windows = np.load(inputs["calibration"] / "tokens.npy")
        samples, length = windows.shape
        check_room(self.kind, table, samples, length, available_bytes())
        writer = ChosenWriter(out, inputs["checkpoints"])

        def recall(path: str) -> list[Affine] | None:
            scheme = solver.schemes[path]
            found = writer.recall(path, scheme)
            if found and (tied := solver.tied.get(path)) and not writer.recall(tied, scheme):
                writer.add(tied, found, scheme.bits)
            return found

        def keep(path: str, entries: Sequence[Affine]) -> None:
            bits = solver.schemes[path].bits
            writer.add(path, entries, bits, solver.unknown.get(path, ()))
            if tied := solver.tied.get(path):  # loaders take one of the two for both
                writer.add(tied, entries, bits)

        quantize_in_sequence(
            model, source, solver.paths, windows, solver.solve, recall, keep, progress
        )
        writer.finish()
        return {}
