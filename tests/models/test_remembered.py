"""Embeddings that remember what they made of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxforge.models.scoring.leaves.layers import HeldEmbedding
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.models.scoring.loading import load_for_scoring
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
    with remembered([embeddings]):
        first, second = embeddings(TOKENS), embeddings(TOKENS)
    assert len(asked) == 1 and mx.array_equal(first, second)


def test_a_model_that_scales_them_in_place_gets_them_as_they_were(tmp_path: Path) -> None:
    model = load_for_scoring(write(PLAIN["gemma3_text"](), tmp_path / "gemma"), exact=True)
    plain = model(TOKENS)
    with remembered(module for _, module in model.named_modules()):
        assert all(mx.array_equal(model(TOKENS), plain) for _ in range(3))
