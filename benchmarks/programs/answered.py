"""What a model says itself: how much of the source's greedy answers, prompted by the beginnings of
windows of tokens, it would have given too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PROMPT, ANSWER = 64, 64  # tokens


def answer(source: Path, tokens: Path, out: Path) -> None:
    """Prompts and the source's answers, int32 [windows, PROMPT + ANSWER]."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from mlxforge.models.scoring.loading import load_for_scoring

    model = load_for_scoring(source)
    found = mx.array(np.load(tokens)[:, :PROMPT])
    cache, last = make_prompt_cache(model), found
    for _ in range(ANSWER):
        last = mx.argmax(model(last, cache=cache)[:, -1:], axis=-1).astype(found.dtype)
        found = mx.concatenate([found, last], axis=1)
        mx.eval(found)
    np.save(out, np.array(found))


def follow(model_folder: Path, answers: Path, result: Path) -> None:
    """The share of their tokens that are the model's likeliest too."""
    import mlx.core as mx

    from mlxforge.models.scoring.loading import load_for_scoring

    model = load_for_scoring(model_folder)
    same = []
    for row in np.load(answers):
        logits = model(mx.array(row[None, :-1]))[0, PROMPT - 1 :]
        same.append(np.array(mx.argmax(logits, axis=-1)) == row[PROMPT:])
    result.write_text(json.dumps({"answers": float(np.mean(same))}))
