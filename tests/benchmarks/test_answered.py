"""What a model finds likeliest in its source's answers, on a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import convert
from mlx_lm.utils import load

from benchmarks.programs.answered import ANSWER, PROMPT, answer, follow
from tests.conftest import DEMO

MODEL = DEMO / "model"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("answers")
    tokens = np.random.default_rng(2).integers(5, 200, size=(3, 200)).astype(np.int32)
    np.save(root / "tokens.npy", tokens)
    answer(MODEL, root / "tokens.npy", root / "answers.npy")
    return root / "answers.npy"


def share(model: Path, answers: Path, result: Path) -> float:
    follow(model, answers, result)
    return float(json.loads(result.read_bytes())["answers"])


def test_answers_are_what_the_model_says_token_by_token(answers: Path) -> None:
    found = np.load(answers)
    assert found.shape == (3, PROMPT + ANSWER)
    model = load(str(MODEL))[0]
    model.set_dtype(mx.float32)
    for row in found:
        for stop in (PROMPT, PROMPT + 1, PROMPT + ANSWER - 1):
            logits = model(mx.array(row[None, :stop]))[0, -1]
            assert logits[int(row[stop])] >= logits.max() - 1e-4


def test_the_source_gives_its_own_answers_and_two_bits_do_not(
    answers: Path, tmp_path: Path
) -> None:
    assert share(MODEL, answers, tmp_path / "own.json") > 0.98
    convert(str(MODEL), str(tmp_path / "rounded"), quantize=True, q_bits=2, q_group_size=64)
    assert share(tmp_path / "rounded", answers, tmp_path / "rounded.json") < 0.6
