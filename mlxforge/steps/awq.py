"""awq: scales between layers that make what matters larger before it is rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.recipe.methods import Awq as Settings
from mlxforge.steps.learned import Learned

__all__ = ["Awq"]


@dataclass(frozen=True)
class Awq(Learned):
    """``source``, ``layers``, ``pairs``, ``calibration`` and ``heads``, which are taken as they
    are -> the packed weights, the scales that were moved, and changed norms (see
    mlxforge.models.writing.chosen). The rest is for ``quantize``, which makes the model of them."""

    grid: int = 20
    clip: bool = True

    kind = "awq"
    version = 7

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        import numpy as np

        from mlxforge.calibrate.awq.journal import keep_heads
        from mlxforge.calibrate.awq.scaling import Scaling
        from mlxforge.calibrate.memory import shelf_for
        from mlxforge.calibrate.run import Run
        from mlxforge.models.layers.assign import affine_schemes
        from mlxforge.models.layers.pairs import Pairs
        from mlxforge.models.layers.usable import usable
        from mlxforge.models.scoring.loading import load_for_scoring
        from mlxforge.models.writing.chosen import ChosenWriter, read_chosen

        table, assignments = self.decide(inputs)
        schemes = affine_schemes(assignments)
        pairs = usable(Pairs.load(inputs["pairs"] / "pairs.json"), assignments)
        with read_chosen(inputs["heads"]) as chosen:
            heads = {path: chosen.codes(path, schemes[path].bits) for path in chosen.layers}
        model = load_for_scoring(inputs["source"], keep=False, exact=True)
        windows = np.load(inputs["calibration"] / "tokens.npy")
        kept = inputs["checkpoints"]
        writer = ChosenWriter(out, kept)
        settings = self.settings(Settings)
        cast = table.cast(self.dtype)
        with shelf_for(self.kind, table, windows, out) as shelf:
            run = Run(model, schemes.keys() - heads.keys(), windows, shelf=shelf)
            keep_heads(heads, schemes, run.modules, writer)
            scaling = Scaling(run, assignments, cast, pairs.pairs, settings, writer, kept)
            with run.ready():
                scaling.go(progress)
        writer.finish(notes={"pairs": scaling.notes, "without": pairs.without})
        return {}
