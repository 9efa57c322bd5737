"""Embeddings that remember what they made of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import pytest

from mlxforge.calibrate.shelf import Shelf
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


@dataclass
class Counted:
    """How often it is asked, and read."""

    array: mx.array
    counts: Counter[str]

    def read(self) -> mx.array:
        self.counts["read"] += 1
        return self.array

    def leave(self) -> None:
        raise AssertionError("what is remembered stays")


def test_rows_are_where_they_are_to_be_kept(tiny: Callable[..., Path]) -> None:
    model = load_for_scoring(tiny(tied=False), exact=True)
    embeddings = model.model.embed_tokens
    plain = embeddings(TOKENS)
    counts: Counter[str] = Counter()

    def keep(array: mx.array) -> Counted | None:
        counts["kept"] += 1
        return Counted(array, counts) if counts["kept"] > 1 else None  # no room at first

    with remembered(model, keep):
        assert all(mx.array_equal(embeddings(TOKENS), plain) for _ in range(4))
    assert counts == {"kept": 2, "read": 2}


def test_codes_on_disk_stand_for_the_same_weight(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = load_for_scoring(tiny(tied=False), exact=True)
    layer, embeddings = model.model.layers[0].mlp.down_proj, model.model.embed_tokens
    x = mx.random.normal((3, layer._matrix.columns), key=mx.random.key(1))
    shelf = Shelf(0, tmp_path, spare=1 << 20)
    for module, given in ((layer, x), (embeddings, TOKENS)):
        before = module(given)
        entries = [search(weight_of(module), 2, 32, mx.bfloat16)]
        fix_weight(module, entries)
        found = module(given)
        for _ in range(2):  # the second time in the place of the first
            fix_weight(module, entries, shelf.spare_on_disk)
            assert len([*tmp_path.iterdir()]) == 1
            assert mx.array_equal(module(given), found) and not mx.array_equal(found, before)
        forget_weight(module)
        assert mx.array_equal(module(given), before) and not [*tmp_path.iterdir()]


def test_rows_of_another_weight_are_read(tiny: Callable[..., Path]) -> None:
    model = load_for_scoring(tiny(tied=False), exact=True)
    embeddings = model.model.embed_tokens
    with remembered(model):
        first = embeddings(TOKENS)
        fix_weight(embeddings, [search(weight_of(embeddings), 2, 32, mx.bfloat16)])
        assert mx.array_equal(embeddings(TOKENS)[0, 1], weight_of(embeddings)[9])
        forget_weight(embeddings)
        assert mx.array_equal(embeddings(TOKENS), first)
