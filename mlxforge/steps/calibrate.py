"""calibrate: what comes into every layer of the source over a text, once for all widths; or over
drawn tokens, which is all that a search for scales needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from mlxforge.errors import ForgeError
from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep, Wants

if TYPE_CHECKING:
    from mlxforge.calibrate.windows import Windows
    from mlxforge.models.layers.table import LayerTable

__all__ = ["Calibrate"]


@dataclass(frozen=True)
class Calibrate(SourceStep):
    """``source``, ``layers`` and, if there is one, ``text`` -> ``tokens.npy`` (int32 [samples,
    sequence_length]), ``held_out.npy`` (a few windows more, from which nothing is learned), and of
    the former the mean squares and means of each layer's inputs (see
    mlxforge.calibrate.statistics), with more of what comes into heads (see
    mlxforge.calibrate.head)."""

    samples: int
    sequence_length: int
    seed: int

    kind = "calibrate"
    version = 8
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True
    one_blas_thread = True
    checkpoints = True

    @classmethod
    def drawn(cls, **wants: Unpack[Wants]) -> Self:
        """Of a recipe that names no text. Windows are no longer than the model has positions."""
        return cls(samples=8, sequence_length=256, seed=0, **wants)

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.calibrate.kept import Kept
        from mlxforge.calibrate.memory import shelf_for
        from mlxforge.calibrate.statistics import write_statistics
        from mlxforge.models.layers.assignment import Assignment
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.scoring.loading import check_tokens, load_for_scoring
        from mlxforge.models.writing.sound import check_weights

        inspection = Inspection(inputs["layers"])
        table = inspection.table
        found = self._windows(inputs, table)
        found.write(out)
        windows = found.learned
        model = load_for_scoring(inputs["source"], keep=False, exact=True)
        for part in (windows, found.held_out):
            check_tokens(model, part)
        kept = Kept(inputs["checkpoints"])
        with shelf_for(self.kind, table, windows, out) as shelf:
            try:
                write_statistics(model, table, windows, out, progress, shelf, kept)
            except ForgeError:  # the inputs of a layer: a weight before it may be the reason
                given = (Assignment(layer, None, "") for layer in table.layers)
                check_weights(inputs["source"], inspection, given, None)
                raise

    def _windows(self, inputs: Mapping[str, Path], table: LayerTable) -> Windows:
        from mlxforge.calibrate.windows import calibration_windows, drawn_windows
        from mlxforge.models.layers.positions import check_length
        from mlxforge.models.source.load import load_tokenizer

        source, length = inputs["source"], self.sequence_length
        if "text" in inputs:
            check_length(table.positions, length, self.kind)
            tokenizer = load_tokenizer(source)
            return calibration_windows(inputs["text"], tokenizer, self.samples, length, self.seed)
        if not table.vocabulary:
            raise ForgeError(
                "the model has no embeddings that are known as such: no tokens can be drawn",
                "name a text: calibrate: {text: {path: …}}",
            )
        length = min(length, table.positions or length)
        return drawn_windows(table.vocabulary, self.samples, length, self.seed)
