"""sensitivity: how much worse each layer alone makes the source, at every width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.learned import Learned

__all__ = ["Sensitivity"]


@dataclass(frozen=True)
class Sensitivity(Learned):
    """``source``, ``layers``, ``calibration`` -> ``sensitivities.json`` (see
    mlxforge.calibrate.dynamic.sensitivity): of the layers that neither a rule nor a guard decides.
    Recipes that differ in how many bits they want share it."""

    kind = "sensitivity"
    version = 2
    side_by_side = True

    @classmethod
    def shared(cls, wanted: Wanted) -> Wanted:
        """Whatever the widths will be filled with: other methods round to searched scales too."""
        scales = wanted.scales if wanted.filling == "rtn" else "search"
        return replace(wanted, method="rtn", scales=scales, prepare="none", refine="none")

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        import numpy as np

        from mlxforge.calibrate.dynamic.records import Records, write_sensitivities
        from mlxforge.calibrate.dynamic.rounding import Rounder
        from mlxforge.calibrate.dynamic.sensitivity import measure_sensitivities, probe_windows
        from mlxforge.calibrate.importances import read_importances
        from mlxforge.calibrate.memory import check_room
        from mlxforge.models.layers.assign import is_free
        from mlxforge.models.scoring.loading import load_for_scoring

        table, assignments = self.decide(inputs)
        check_room(self.kind, table)
        free = [entry.layer for entry in assignments if is_free(entry)]
        importances = read_importances(inputs["calibration"], table)
        rounder = Rounder(self.scales, self.group_size, table.cast(self.dtype), importances)
        windows = probe_windows(np.load(inputs["calibration"] / "tokens.npy"))
        model = load_for_scoring(inputs["source"], exact=True)
        kept = Records(inputs["checkpoints"]).kept
        found = measure_sensitivities(model, free, windows, rounder, kept, progress)
        write_sensitivities(found, out)
