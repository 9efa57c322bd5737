"""answers: what the source says of some images, once for all recipes that are compared with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.progress import Progress
from mlxforge.steps.source import SourceStep

__all__ = ["Answers", "compare"]


@dataclass(frozen=True)
class Answers(SourceStep):
    """``source`` -> for each of ``images`` the image itself, ``NAME.png``, what the source thought
    while it answered, ``NAME.npy`` (float32 [tokens, vocabulary], log-probabilities in nats), and
    ``answers.json``. Nothing for a model that does not see."""

    images: tuple[str, ...]
    max_tokens: int

    kind = "answers"
    tools = ("mlx", "mlx-lm", "transformers", "tokenizers")
    backend = True
    blas = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        import numpy as np

        from mlxforge.evaluate.drawings import draw
        from mlxforge.models.scoring.loading import keep_weights, load_for_scoring
        from mlxforge.models.scoring.seeing import Seer
        from mlxforge.models.source.files import read_config
        from mlxforge.models.source.loader import sees

        if not sees(read_config(inputs["source"])):
            (out / "answers.json").write_text("[]\n")
            return
        model = load_for_scoring(inputs["source"])
        keep_weights(model)
        seer = Seer(model.whole, inputs["source"])
        document = []
        for number, name in enumerate(self.images, start=1):
            question = draw(name, out / f"{name}.png")
            answer = seer.answer(out / f"{name}.png", question, self.max_tokens)
            np.save(out / f"{name}.npy", answer.logprobs)
            document.append(
                {"image": name, "question": question, "text": answer.text, "tokens": answer.tokens}
            )
            progress(number, len(self.images), "images")
        (out / "answers.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def compare(
    model: Any, folder: Path, answers: Path, max_tokens: int, progress: Progress
) -> list[dict[str, Any]]:
    """What ``model``, of ``folder``, says of the same images, beside the source's ``answers``, and
    how far it is from the source over the source's words: one entry per image."""
    import numpy as np

    from mlxforge.evaluate.divergence import divergence
    from mlxforge.models.scoring.seeing import Seer

    entries: list[dict[str, Any]] = json.loads((answers / "answers.json").read_bytes())
    if not entries:
        return entries
    seer = Seer(model.whole, folder)
    for number, entry in enumerate(entries, start=1):
        image, tokens = answers / f"{entry['image']}.png", entry.pop("tokens")
        thought = np.load(answers / f"{entry['image']}.npy")
        echo = seer.answer(image, entry["question"], len(tokens), said=tokens)
        entry["source"] = entry.pop("text")
        entry["text"] = seer.answer(image, entry["question"], max_tokens).text
        entry["tokens"] = len(tokens)
        entry["kl_divergence"] = float(divergence(thought, echo.logprobs).mean())
        agrees = thought.argmax(axis=1) == echo.logprobs.argmax(axis=1)
        entry["top1_agreement"] = float(agrees.mean())
        progress(number, len(entries), "images")
    return entries
