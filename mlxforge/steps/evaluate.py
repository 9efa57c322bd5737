"""evaluate: how good the model is, against its source and in its own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxforge.progress import Progress
from mlxforge.steps.answers import compare
from mlxforge.steps.source import SourceStep

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate(SourceStep):
    """``model`` and, for ``metrics``, ``source`` and its ``baseline`` -> ``result.json``.

    The figures are over the baseline's windows. Of the source only the head is read, and only
    where a metric compares with it. ``prompts`` are continued greedily by at most ``max_tokens``
    tokens each. With the source's ``answers``, the model is shown the same images.
    """

    metrics: tuple[str, ...]
    prompts: tuple[str, ...]
    max_tokens: int

    kind = "evaluate"
    version = 3
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.models.scoring.generate import generate
        from mlxforge.models.scoring.loading import arithmetic, keep_weights, load_for_scoring
        from mlxforge.models.source.load import load_tokenizer

        model = load_for_scoring(inputs["model"])
        result: dict[str, Any] = {"arithmetic": arithmetic()}
        if "baseline" in inputs:
            result |= self._figures(model, inputs, progress)
        result["samples"] = []
        if self.prompts:
            tokenizer = load_tokenizer(inputs["model"])
            keep_weights(model)
            for number, prompt in enumerate(self.prompts, start=1):
                text = generate(model, tokenizer, prompt, self.max_tokens)
                result["samples"].append({"prompt": prompt, "text": text})
                progress(number, len(self.prompts), "samples")
        if "answers" in inputs:
            keep_weights(model)
            answers = (inputs["answers"], self.max_tokens, progress)
            result["images"] = compare(model, inputs["model"], *answers)
        (out / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")

    def _figures(
        self, model: Any, inputs: Mapping[str, Path], progress: Progress
    ) -> dict[str, Any]:
        import numpy as np

        from mlxforge.evaluate.divergence import summary
        from mlxforge.evaluate.perplexity import perplexity
        from mlxforge.evaluate.score import Source, score_model
        from mlxforge.models.scoring.loading import load_for_scoring

        folder = inputs["baseline"]
        baseline = json.loads((folder / "baseline.json").read_bytes())
        source = None
        if {"kl_divergence", "top1_agreement"} & set(self.metrics):
            states = np.load(folder / "states.npy", mmap_mode="r")
            head = load_for_scoring(inputs["source"], keep=False)
            source = Source(head, baseline["whole_logits"], states)
        scores = score_model(model, np.load(folder / "tokens.npy"), progress, source)
        figures: dict[str, Any] = {}
        if "perplexity" in self.metrics:
            figures["perplexity"] = asdict(perplexity(scores.losses))
        if "kl_divergence" in self.metrics and scores.divergence is not None:
            figures["kl_divergence"] = summary(scores.divergence)
        if "top1_agreement" in self.metrics and scores.agrees is not None:
            figures["top1_agreement"] = float(scores.agrees.mean())
        return {"figures": figures, "baseline": baseline}
