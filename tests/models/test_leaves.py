"""Models whose weights stay in their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.utils import load_model

from mlxforge.errors import ForgeError
from mlxforge.evaluate.score import score_model
from mlxforge.models.scoring.generate import generate
from mlxforge.models.scoring.leaves import model as leaves
from mlxforge.models.scoring.leaves.held import window
from mlxforge.models.scoring.leaves.layers import HeldLinear, HeldSwitchLinear
from mlxforge.models.scoring.leaves.model import decoded_bytes, hold_model, supply_of
from mlxforge.models.scoring.leaves.supply import Supply
from mlxforge.models.scoring.loading import keep_weights, load_for_scoring
from mlxforge.models.source.load import load_tokenizer
from mlxforge.models.streaming.tensors import open_tensors
from tests import checkpoints
from tests.models.whole import to_float32

TOKENS = mx.array(np.random.default_rng(0).integers(0, 500, size=(2, 40)).astype(np.int32))


def held(folder: Path, budget: int, part_bytes: int = 13_000, as_stored: bool = False) -> nn.Module:
    supply = Supply(budget, part_bytes)
    return hold_model(folder, open_tensors(folder), supply, as_stored=as_stored)


def plain(folder: Path) -> nn.Module:
    return to_float32(load_model(folder, lazy=True)[0])


def packed_in_their_own_ways(name: str, folder: Path) -> Path:
    if name == "deepseek_fp8":
        checkpoint, packed = checkpoints.deepseek_fp8()
        return checkpoints.write(checkpoint, folder, fp8=packed)
    makers = {**checkpoints.PLAIN, "gpt_oss": checkpoints.gpt_oss, "awq": checkpoints.awq}
    return checkpoints.write(makers[name](), folder, shards=2)


@pytest.mark.parametrize("name", [*checkpoints.PLAIN, "deepseek_fp8", "gpt_oss", "awq"])
def test_every_architecture_gives_what_it_gives_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    folder = packed_in_their_own_ways(name, tmp_path / "source")
    model = held(folder, 100_000)
    assert decoded_bytes(model) > 100_000
    assert mx.allclose(model(TOKENS), plain(folder)(TOKENS), atol=1e-5)


@pytest.mark.parametrize("budget", [0, 200_000, 1 << 30])
@pytest.mark.parametrize("name", ["qwen3_moe", "phimoe"])
@pytest.mark.parametrize("tokens", [40, 3])  # mlx_lm sorts many tokens by expert, and few not
def test_experts_are_those_of_the_whole_model(
    session_folder: Path, name: str, budget: int, tokens: int
) -> None:
    folder = checkpoints.stored(name, session_folder)
    model, expected = held(folder, budget), plain(folder)(TOKENS[:, :tokens])
    for _ in range(2):  # the second time some parts are in memory
        assert mx.allclose(model(TOKENS[:, :tokens]), expected, atol=1e-5)


def test_a_leaf_keeps_its_kind_and_gives_its_weight_when_asked(tiny: Callable[..., Path]) -> None:
    folder = tiny(tied=False)
    model, whole = held(folder, 0), plain(folder)
    layer = model.model.layers[0].mlp.up_proj
    assert type(layer) is HeldLinear and "weight" in layer and "scales" not in layer
    assert not dict.__contains__(layer, "weight")
    expected = whole.model.layers[0].mlp.up_proj.weight
    assert mx.array_equal(layer.weight, expected) and mx.array_equal(layer["weight"], expected)
    with pytest.raises(AttributeError):
        _ = layer.scales


def test_only_what_has_rows_of_its_own_can_be_cut(
    tiny: Callable[..., Path], session_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", 100)
    model = held(checkpoints.stored("qwen3_moe", session_folder), 0)
    experts = model.model.layers[0].mlp.switch_mlp.up_proj
    assert type(experts) is HeldSwitchLinear and experts._held.rows == experts._held.step == 0
    with pytest.raises(AssertionError), window(experts, 0, 1):
        pass
    layer = held(tiny(tied=False), 0, as_stored=True).model.layers[0].mlp.up_proj
    weight = mx.array(layer.weight)
    assert layer._held.rows == len(weight)
    with window(layer, 3, 9):
        assert mx.array_equal(layer.weight, weight[3:9])
    assert mx.array_equal(layer.weight, weight)


def test_an_embedding_has_no_rows_beyond_its_last(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    embedding = held(tiny(tied=True), 0).model.embed_tokens
    rows = len(embedding.weight)
    assert embedding(mx.array([[0, rows - 1]])).shape == (1, 2, 128)
    for token in (rows, -rows - 1):
        with pytest.raises(ForgeError, match=f"token {token} is not one of the {rows} rows"):
            embedding(mx.array([[0, token]]))


def test_a_negative_token_counts_from_the_end_as_in_mlx(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    embedding = held(tiny(tied=True), 0).model.embed_tokens
    tokens = mx.array([[-1, 0, -len(embedding.weight)]])
    assert mx.array_equal(embedding(tokens), embedding.weight[tokens])


@pytest.mark.parametrize("budget", [0, 400_000, 1 << 30])
def test_weights_as_they_are_stored_give_mlx_lms_own_logits(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    folder = tiny(tied=True)
    model, own = held(folder, budget, as_stored=True), load_model(folder)[0]
    for _ in range(2):
        found = model(TOKENS)
        assert found.dtype == mx.bfloat16 and mx.array_equal(found, own(TOKENS))


def test_memory_does_not_grow_with_the_model(tiny: Callable[..., Path]) -> None:
    """Peaks of what MLX holds while a model three times as deep is scored, none of it kept."""
    sizes, peaks = [], []
    for layers in (2, 6):
        folder = tiny(tied=False, hidden=256, intermediate=1024, layers=layers)
        model = held(folder, 0, part_bytes=1 << 16)
        sizes.append(decoded_bytes(model))
        score_model(model, np.array(TOKENS), lambda *_: None)
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        score_model(model, np.array(TOKENS), lambda *_: None)
        peaks.append(mx.get_peak_memory() - before)
    assert sizes[1] > 24_000_000
    assert peaks[1] < 1.1 * peaks[0] + (1 << 16) and peaks[1] < sizes[1] / 8


def kept_bytes(supply: Supply) -> int:
    return sum(part.nbytes for part in supply._kept.values())


def test_what_is_kept_fills_the_budget_and_no_more(tiny: Callable[..., Path]) -> None:
    model = held(tiny(tied=True), 300_000)
    supply = supply_of(model)
    assert supply is not None and kept_bytes(supply) == 0
    for _ in range(2):
        mx.eval(model(TOKENS))
        assert 300_000 - 13_000 < kept_bytes(supply) <= 300_000
    supply.grow(1 << 30)
    mx.eval(model(TOKENS))
    assert kept_bytes(supply) == decoded_bytes(model)


def test_generation_is_that_of_the_whole_model(tiny: Callable[..., Path]) -> None:
    folder = tiny(tied=True)
    tokenizer = load_tokenizer(folder)
    expected = generate(plain(folder), tokenizer, "What does a duck do?", 8)
    model = load_for_scoring(folder, keep=False)
    assert generate(model, tokenizer, "What does a duck do?", 8) == expected
    keep_weights(model)
    assert generate(model, tokenizer, "What does a duck do?", 8) == expected
