"""baseline: the source scored on a text, once for all recipes that are compared with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep

__all__ = ["Baseline"]


@dataclass(frozen=True)
class Baseline(SourceStep):
    """``source``, ``text`` -> ``tokens.npy`` (int32 [windows, length]), ``states.npy`` (float32
    [windows, length - 1, width]: what goes into the source's head, see
    mlxforge.models.scoring.split) and ``baseline.json``."""

    samples: int
    sequence_length: int

    kind = "baseline"
    version = 3
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        import numpy as np

        from mlxforge.evaluate.perplexity import perplexity
        from mlxforge.evaluate.score import score_source
        from mlxforge.evaluate.windows import token_windows, tokens_digest
        from mlxforge.models.layers.positions import check_length, most_positions
        from mlxforge.models.scoring.loading import arithmetic, load_for_scoring
        from mlxforge.models.source.files import read_config
        from mlxforge.models.source.load import load_tokenizer

        limit = most_positions(read_config(inputs["source"]))
        check_length(limit, self.sequence_length, "evaluate")
        tokenizer = load_tokenizer(inputs["source"])
        windows = token_windows(inputs["text"], tokenizer, self.samples, self.sequence_length)
        np.save(out / "tokens.npy", windows)
        model = load_for_scoring(inputs["source"])
        losses, whole = score_source(model, windows, out / "states.npy", progress)
        document = {
            "windows": len(windows),
            "sequence_length": self.sequence_length,
            "tokens_sha256": tokens_digest(windows),
            "perplexity": asdict(perplexity(losses)),
            "whole_logits": whole,
            "arithmetic": arithmetic(),
        }
        (out / "baseline.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
