"""dwq: scales and biases trained against the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Dwq as Settings
from mlxforge.steps.learned import Learned

__all__ = ["Dwq"]


@dataclass(frozen=True)
class Dwq(Learned):
    """``source``, ``layers``, ``calibration`` and ``start``, a finished model, with what was
    ``chosen`` for it, if anything -> its packed weights with other scales and biases (see
    mlxforge.models.writing.chosen)."""

    iterations: int = 40
    batch_size: int = 4
    learning_rate: float = 0.01
    temperature: float = 1.0
    scope: str = "blocks"
    norms: bool = False

    kind = "dwq"
    version = 5
    side_by_side = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        from mlxforge.calibrate.distill.pair import Pair, deal
        from mlxforge.calibrate.distill.train import train
        from mlxforge.calibrate.distill.tuned import write_tuned
        from mlxforge.calibrate.distill.verdict import judge
        from mlxforge.calibrate.importances import read_importances
        from mlxforge.calibrate.kept import Kept
        from mlxforge.calibrate.memory import lanes_for, shelf_for, spare_shelf
        from mlxforge.calibrate.windows import Windows
        from mlxforge.models.layers.assign import affine_schemes, assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.memory import available_bytes
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.streaming.tensors import open_tensors
        from mlxforge.models.threads import Lanes, one_thread_per_product
        from mlxforge.models.writing.chosen import read_chosen
        from mlxforge.quantize.moved import Moved

        settings = self.settings(Settings)
        windows = Windows.read(inputs["calibration"])
        batches = deal(windows, settings.batch_size)
        table = Inspection(inputs["layers"]).table
        source = load_for_scoring(inputs["source"], keep=False, exact=True)
        student = load_for_scoring(inputs["start"], keep=False, exact=True)
        tensors = open_tensors(inputs["start"])
        importances = read_importances(inputs["calibration"], table)
        changed: frozenset[str] = frozenset()
        moved: dict[str, Moved] = {}
        if "chosen" in inputs:
            with read_chosen(inputs["chosen"]) as chosen:
                changed, moved = chosen.tensors, chosen.moved()
        lanes = Lanes(lanes_for(self.kind, table, available_bytes()))
        pair = Pair(source, student, tensors, batches, importances, moved, lanes)
        kept = Kept(inputs["checkpoints"])
        with one_thread_per_product():
            with shelf_for(self.kind, table, windows.learned, out) as shelf:
                solved = train(pair, settings, kept, progress, shelf)
            with spare_shelf(out) as shelf:
                verdict = judge(pair, solved, shelf)
        names = {stage.number: stage.name for stage in pair.stages}
        paths = affine_schemes(assign(table, self.wanted()))
        told = importances.keys()
        write_tuned(inputs["start"], tensors, paths, verdict, solved, names, changed, told, out)
        return {}
