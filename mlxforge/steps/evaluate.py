"""evaluate: how good the model is, against its source and in its own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate(Step):
    """``model`` and, for ``metrics``, ``source`` and its ``baseline`` -> ``result.json``.

    The figures are over the baseline's windows. ``prompts`` are continued greedily by at most
    ``max_tokens`` tokens each.
    """

    metrics: tuple[str, ...]
    prompts: tuple[str, ...]
    max_tokens: int

    kind = "evaluate"
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.models.generate import generate
        from mlxforge.models.load import load_tokenizer
        from mlxforge.models.scoring import arithmetic, load_for_scoring

        model = load_for_scoring(inputs["model"])
        result: dict[str, Any] = {"arithmetic": arithmetic()}
        if "baseline" in inputs:
            result |= self._figures(model, inputs, progress)
        result["samples"] = []
        if self.prompts:
            tokenizer = load_tokenizer(inputs["model"])
            for number, prompt in enumerate(self.prompts, start=1):
                text = generate(model, tokenizer, prompt, self.max_tokens)
                result["samples"].append({"prompt": prompt, "text": text})
                progress(number, len(self.prompts), "samples")
        (out / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")

    def _figures(
        self, model: Any, inputs: Mapping[str, Path], progress: Progress
    ) -> dict[str, Any]:
        import numpy as np

        from mlxforge.evaluate.divergence import summary
        from mlxforge.evaluate.perplexity import perplexity
        from mlxforge.evaluate.score import score_model
        from mlxforge.models.scoring import load_for_scoring

        folder = inputs["baseline"]
        baseline = json.loads((folder / "baseline.json").read_bytes())
        scores = score_model(
            model,
            load_for_scoring(inputs["source"]),
            baseline["whole_logits"],
            np.load(folder / "tokens.npy"),
            folder / "states.npy",
            progress,
        )
        figures: dict[str, Any] = {}
        if "perplexity" in self.metrics:
            figures["perplexity"] = asdict(perplexity(scores.losses))
        if "kl_divergence" in self.metrics:
            figures["kl_divergence"] = summary(scores.divergence)
        if "top1_agreement" in self.metrics:
            figures["top1_agreement"] = float(scores.agrees.mean())
        return {"figures": figures, "baseline": baseline}
