"""Embeddings that remember what they made of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxforge.models.scoring.leaves.fixed import fix_weight, forget_weight, weight_of
from mlxforge.models.scoring.leaves.layers import HeldEmbedding
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.quantize.search import search
from tests.checkpoints import PLAIN, write

TOKENS = mx.array([[5, 9, 5, 77]])


def test_a_row_is_read_once(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_for_scoring(tiny(tied=False), exact=True)
    embeddings = model.model.embed_tokens
    asked: list[mx.array] = []
    read = HeldEmbedding.__call__

    def noted(self: HeldEmbedding, x: mx.array) -> mx.array:
        asked.append(x)
        return read(self, x)

    monkeypatch.setattr(HeldEmbedding, "__call__", noted)
    with remembered(model):
        first, second = embeddings(TOKENS), embeddings(TOKENS)
    assert len(asked) == 1 and mx.array_equal(first, second)


def test_a_model_that_scales_them_in_place_gets_them_as_they_were(tmp_path: Path) -> None:
    model = load_for_scoring(write(PLAIN["gemma3_text"](), tmp_path / "gemma"), exact=True)
    plain = model(TOKENS)
    with remembered(model):
        assert all(mx.array_equal(model(TOKENS), plain) for _ in range(3))


def test_rows_of_another_weight_are_read(tiny: Callable[..., Path]) -> None:
    model = load_for_scoring(tiny(tied=False), exact=True)
    embeddings = model.model.embed_tokens
    with remembered(model):
        first = embeddings(TOKENS)
        fix_weight(embeddings, [search(weight_of(embeddings), 2, 32, mx.bfloat16)])
        assert mx.array_equal(embeddings(TOKENS)[0, 1], weight_of(embeddings)[9])
        forget_weight(embeddings)
        assert mx.array_equal(embeddings(TOKENS), first)
