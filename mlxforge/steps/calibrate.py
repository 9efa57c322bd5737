"""calibrate: what comes into every layer of the source over a text, once for all widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep

__all__ = ["Calibrate"]


@dataclass(frozen=True)
class Calibrate(SourceStep):
    """``source``, ``layers``, ``text`` -> ``tokens.npy`` (int32 [samples, sequence_length]) and
    the mean squares of each layer's inputs (see mlxforge.calibrate.statistics), with more of what
    comes into heads (see mlxforge.calibrate.head)."""

    samples: int
    sequence_length: int
    seed: int

    kind = "calibrate"
    version = 5
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True
    one_blas_thread = True
    checkpoints = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        import numpy as np

        from mlxforge.calibrate.kept import Kept
        from mlxforge.calibrate.memory import shelf_for
        from mlxforge.calibrate.statistics import write_statistics
        from mlxforge.calibrate.windows import calibration_windows
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.scoring.loading import check_length, check_tokens, load_for_scoring
        from mlxforge.models.source.load import load_tokenizer

        check_length(inputs["source"], self.sequence_length, self.kind)
        tokenizer = load_tokenizer(inputs["source"])
        windows = calibration_windows(
            inputs["text"], tokenizer, self.samples, self.sequence_length, self.seed
        )
        np.save(out / "tokens.npy", windows)
        model = load_for_scoring(inputs["source"], keep=False, exact=True)
        check_tokens(model, windows)
        table = Inspection(inputs["layers"]).table
        kept = Kept(inputs["checkpoints"])
        with shelf_for(self.kind, table, windows, out) as shelf:
            write_statistics(model, table, windows, out, progress, shelf, kept)
