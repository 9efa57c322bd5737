"""Scoring through states is scoring through logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.perplexity import eval_ppl
from mlx_lm.utils import load_model, quantize_model

from mlxforge.evaluate import score
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.models.load import to_float32
from mlxforge.models.scoring import load_for_scoring
from mlxforge.models.split import split_model
from tests.tiny import make_phimoe, make_qwen3_moe

WINDOWS = np.random.default_rng(0).integers(0, 500, size=(3, 40)).astype(np.int32)


def quiet(done: int, total: int, unit: str) -> None: ...


@pytest.fixture(params=["tied", "untied", "qwen3_moe", "phimoe"])
def source(request: pytest.FixtureRequest, tiny: Callable[..., Path], session_folder: Path) -> Path:
    if request.param in ("tied", "untied"):
        return tiny(tied=request.param == "tied")
    return {"qwen3_moe": make_qwen3_moe, "phimoe": make_phimoe}[request.param](session_folder)


def test_states_and_head_give_the_models_own_logits(source: Path) -> None:
    model = load_for_scoring(source)
    tokens = mx.array(WINDOWS[:1])
    split = split_model(model, tokens[:, :16])
    assert not split.whole
    assert split.states(tokens).shape == (40, 128)
    assert mx.array_equal(split.logits(split.states(tokens)), model(tokens)[0])
    assert mx.array_equal(model(tokens), model(tokens))  # and the model is as it was


def test_the_source_against_itself_diverges_nowhere_and_scores_as_mlx_lm_does(
    source: Path, tmp_path: Path
) -> None:
    model = load_for_scoring(source)
    losses, whole = score.score_source(model, WINDOWS, tmp_path / "states.npy", quiet)
    found = score.score_model(model, model, whole, WINDOWS, tmp_path / "states.npy", quiet)
    assert found.divergence.max() < 1e-9 and found.agrees.all()
    assert np.allclose(found.losses, losses, atol=1e-5)
    theirs, error = eval_ppl(model, mx.array(WINDOWS))
    ours = perplexity(losses)
    assert np.isclose(ours.value, theirs, rtol=1e-5)
    assert np.isclose(ours.standard_error, error, rtol=1e-4)


def test_pieces_of_any_size_and_whole_logits_give_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config = load_model(source, lazy=True)
    quantized = to_float32(quantize_model(model, config, 64, 4)[0])
    reference = load_for_scoring(source)
    _, whole = score.score_source(reference, WINDOWS, tmp_path / "a.npy", quiet)
    one = score.score_model(quantized, reference, whole, WINDOWS, tmp_path / "a.npy", quiet)
    assert one.divergence.mean() > 1e-4

    monkeypatch.setattr(score, "LOGIT_BYTES", 1)  # a row at a time
    rows = score.score_model(quantized, reference, whole, WINDOWS, tmp_path / "a.npy", quiet)
    assert np.allclose(rows.divergence, one.divergence, rtol=1e-3, atol=1e-6)

    monkeypatch.setattr("mlxforge.models.split._can_be_cut", lambda model, probe: False)
    _, whole = score.score_source(reference, WINDOWS, tmp_path / "b.npy", quiet)
    assert whole
    uncut = score.score_model(quantized, reference, whole, WINDOWS, tmp_path / "b.npy", quiet)
    assert np.allclose(uncut.divergence, one.divergence, rtol=1e-3, atol=1e-6)
    assert np.allclose(uncut.losses, one.losses, rtol=1e-4, atol=1e-5)


def test_float32_holds_what_is_stored_exactly(tiny: Callable[..., Path]) -> None:
    source = tiny(tied=False)
    for mode, bits, group_size in (("affine", 3, 32), ("mxfp4", 4, 32), ("nvfp4", 4, 16)):
        model, config = load_model(source, lazy=True)
        model, _ = quantize_model(model, config, group_size, bits, mode=mode)
        layer = model.model.layers[0].mlp.up_proj
        biases = layer.get("biases")
        exact = mx.dequantize(
            layer.weight,
            layer.scales.astype(mx.float32) if biases is not None else layer.scales,
            biases.astype(mx.float32) if biases is not None else None,
            group_size, bits, mode,
        )  # fmt: skip
        held = to_float32(model).model.layers[0].mlp.up_proj.weight
        assert held.dtype == mx.float32
        assert mx.array_equal(held, exact.astype(mx.float32))
