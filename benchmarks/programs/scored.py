"""How far models are from their source, in float32, on windows of several kinds of text.

scored.py source SOURCE TEXTS OUT          writes what models are compared with
scored.py model MODEL SOURCE OUT RESULT    compares one, and writes its figures
scored.py answer SOURCE TOKENS OUT         writes prompts and the source's answers
scored.py follow MODEL ANSWERS RESULT      writes how much of them a model would give
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs.answered import answer, follow

WINDOWS, LENGTH = 4, 512  # of each kind


def main() -> None:
    from mlxforge.models.blas import load_blas

    load_blas()
    jobs: dict[str, Callable[..., None]] = {
        "source": score_source, "model": score_model, "answer": answer, "follow": follow,
    }  # fmt: skip
    jobs[sys.argv[1]](*map(Path, sys.argv[2:]))


def silent(done: int, total: int, unit: str) -> None: ...


def score_source(source: Path, texts: Path, out: Path) -> None:
    from benchmarks.quality.inputs import KINDS
    from mlxforge.evaluate import score
    from mlxforge.evaluate.windows import token_windows
    from mlxforge.models.scoring.loading import load_for_scoring
    from mlxforge.models.source.load import load_tokenizer

    tokenizer = load_tokenizer(source)
    windows = [token_windows(texts / f"{kind}.txt", tokenizer, WINDOWS, LENGTH) for kind in KINDS]
    tokens = np.concatenate(windows)
    np.save(out / "tokens.npy", tokens)
    losses, whole = score.score_source(load_for_scoring(source), tokens, out / "states.npy", silent)
    assert not whole
    (out / "source.json").write_text(json.dumps({"perplexity": perplexity(losses)}))


def score_model(model: Path, source: Path, out: Path, result: Path) -> None:
    from benchmarks.quality.inputs import KINDS
    from mlxforge.evaluate import score
    from mlxforge.models.scoring.loading import load_for_scoring

    states = np.load(out / "states.npy", mmap_mode="r")
    teacher = score.Source(load_for_scoring(source, keep=False), False, states)
    tokens = np.load(out / "tokens.npy")
    scores = score.score_model(load_for_scoring(model), tokens, silent, teacher)
    assert scores.divergence is not None and scores.agrees is not None
    kinds = scores.divergence.reshape(len(KINDS), -1).mean(axis=1, dtype=np.float64)
    result.write_text(json.dumps({
        "perplexity": perplexity(scores.losses),
        "kl": float(scores.divergence.mean(dtype=np.float64)),
        "kl_p99": float(np.quantile(scores.divergence, 0.99)),
        "top1": float(scores.agrees.mean()),
        "kinds": dict(zip(KINDS, map(float, kinds), strict=True)),
    }))  # fmt: skip


def perplexity(losses: Any) -> float:
    return float(np.exp(losses.mean(dtype=np.float64)))


if __name__ == "__main__":
    main()
