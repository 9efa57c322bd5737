"""Scoring piece by piece is scoring with the whole model and all of its logits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.perplexity import eval_ppl
from mlx_lm.utils import load_model, quantize_model, save

from mlxforge.errors import ForgeError
from mlxforge.evaluate import score
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.evaluate.score import Source, score_model, score_source
from mlxforge.models.scoring import attention, split
from mlxforge.models.scoring.leaves import model as leaves
from mlxforge.models.scoring.leaves.model import hold_model
from mlxforge.models.scoring.leaves.supply import Supply
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_tokenizer
from mlxforge.models.streaming.tensors import open_tensors
from tests.checkpoints import stored
from tests.models.heads import NEVER_SAID, Wrapped, make_gemma2, make_gemma3, make_seed_oss, masking
from tests.models.whole import to_float32

WINDOWS = np.random.default_rng(0).integers(0, 500, size=(3, 40)).astype(np.int32)
MODELS = {
    "qwen3_moe": partial(stored, "qwen3_moe"),
    "phimoe": partial(stored, "phimoe"),
    "gemma2": make_gemma2,
    "gemma3": make_gemma3,
    "seed_oss": make_seed_oss,
}


def quiet(done: int, total: int, unit: str) -> None: ...


@pytest.fixture(params=["tied", "untied", *MODELS])
def source(request: pytest.FixtureRequest, tiny: Callable[..., Path], session_folder: Path) -> Path:
    if request.param in ("tied", "untied"):
        return tiny(tied=request.param == "tied")
    return MODELS[request.param](session_folder)


@pytest.fixture
def everything_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes so small that parameters, attention, logits and waves all come in pieces."""
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    monkeypatch.setattr(attention, "SMALL", 0)
    monkeypatch.setattr(attention, "SCORE_BYTES", 4 * 2 * 40 * 7)
    monkeypatch.setattr(score, "LOGIT_BYTES", 4 * 50 * 60)
    monkeypatch.setattr(score, "WAVE_TOKENS", 80)


def streamed(folder: Path, budget: int = 100_000) -> nn.Module:
    return hold_model(folder, open_tensors(folder), Supply(budget, part_bytes=13_000))


def quantized(source: Path, folder: Path, bits: int, group_size: int, mode: str) -> Path:
    model, config = load_model(source, lazy=True)
    model, config = quantize_model(model, config, group_size, bits, mode=mode)
    folder.mkdir()
    save(folder, source, model, load_tokenizer(source), config)
    return folder


def plain_logits(folder: Path) -> np.ndarray:
    """float64 [windows, length - 1, vocabulary] of the whole model in float32."""
    model = to_float32(load_model(folder, lazy=True)[0])
    return np.array(model(mx.array(WINDOWS[:, :-1]))).astype(np.float64)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


@pytest.mark.parametrize(("bits", "group_size", "mode"), [(4, 64, "affine"), (4, 32, "mxfp4")])
@pytest.mark.usefixtures("everything_is_cut")
def test_a_quantized_model_scores_as_its_whole_logits_do(
    source: Path, tmp_path: Path, bits: int, group_size: int, mode: str
) -> None:
    folder = quantized(source, tmp_path / "model", bits, group_size, mode)
    losses, whole = score_source(streamed(source), WINDOWS, tmp_path / "states.npy", quiet)
    reference = Source(streamed(source, 0), whole, np.load(tmp_path / "states.npy", mmap_mode="r"))
    found = score_model(streamed(folder), WINDOWS, quiet, reference)
    assert not whole

    logits, expected = plain_logits(folder), plain_logits(source)
    p, q = log_softmax(expected), log_softmax(logits)
    targets = WINDOWS[:, 1:, None]
    assert np.allclose(losses, -np.take_along_axis(p, targets, -1)[..., 0], atol=1e-4)
    assert np.allclose(found.losses, -np.take_along_axis(q, targets, -1)[..., 0], atol=1e-4)
    divergence = (np.exp(p) * (p - q)).sum(-1)
    assert divergence.mean() > 1e-4 and found.divergence is not None
    assert np.allclose(found.divergence, divergence, atol=1e-4)
    assert found.agrees is not None
    assert (found.agrees == (expected.argmax(-1) == logits.argmax(-1))).mean() > 0.99


@pytest.mark.usefixtures("everything_is_cut")
def test_the_head_is_cut_by_the_vocabulary(source: Path) -> None:
    model = streamed(source)
    tokens = mx.array(WINDOWS[:1])
    cut = split.split_model(model, tokens[:, :16])
    assert not cut.whole and cut.head.step == 13_000 // 4 // 128
    states = cut.states(tokens)[0]
    assert states.shape == (40, 128)
    logits = model(tokens)[0]
    assert cut.head.vocabulary == logits.shape[1]
    assert mx.allclose(cut.head.columns(states, 100, 130), logits[:, 100:130], atol=1e-5)
    assert mx.allclose(model(tokens)[0], logits, atol=1e-5)  # and the model is as it was


def test_the_source_against_itself_diverges_nowhere_and_scores_as_mlx_lm_does(
    source: Path, tmp_path: Path
) -> None:
    model = load_for_scoring(source)
    losses, whole = score_source(model, WINDOWS, tmp_path / "states.npy", quiet)
    states = np.load(tmp_path / "states.npy", mmap_mode="r")
    found = score_model(model, WINDOWS, quiet, Source(model, whole, states))
    assert found.divergence is not None and found.agrees is not None
    assert found.divergence.max() < 1e-9 and found.agrees.all()
    assert np.allclose(found.losses, losses, atol=1e-5)
    theirs, error = eval_ppl(model, mx.array(WINDOWS))
    ours = perplexity(losses)
    assert np.isclose(ours.value, theirs, rtol=1e-5)
    assert np.isclose(ours.standard_error, error, rtol=1e-4)


@pytest.mark.parametrize("how", ["in_place", "head_in_one", "not_at_all", "one_window_at_a_time"])
def test_a_model_that_cannot_be_cut_or_batched_scores_the_same(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    model = load_for_scoring(tiny(tied=False))

    class Awkward(type(model)):
        def __call__(self, tokens: mx.array, cache: None = None) -> mx.array:
            if how == "one_window_at_a_time" and len(tokens) > 1:
                raise ValueError("one at a time")
            states = self.model(tokens)
            if how == "not_at_all":  # the head looks at the tokens again
                states = states + self.model.embed_tokens(tokens)
            if how == "in_place":
                states *= 2
            logits = self.lm_head(states)
            if how == "head_in_one":  # the maximum is over the whole vocabulary
                logits = logits * 2 / logits.max(axis=-1, keepdims=True)
            return logits

    model.__class__ = Awkward
    rows = [model(mx.array(row[None, :-1])) for row in WINDOWS]
    logits = log_softmax(np.array(mx.concatenate(rows)).astype(np.float64))
    expected = -np.take_along_axis(logits, WINDOWS[:, 1:, None], -1)[..., 0]
    monkeypatch.setattr(score, "LOGIT_BYTES", 4 * 50 * 60)
    losses, whole = score_source(model, WINDOWS, tmp_path / "states.npy", quiet)
    assert whole is (how == "not_at_all")
    states = np.load(tmp_path / "states.npy", mmap_mode="r")
    found = score_model(model, WINDOWS, quiet, Source(model, whole, states))
    assert found.divergence is not None and found.divergence.max() < 1e-9
    assert np.allclose(losses, expected, atol=1e-5)
    assert np.allclose(found.losses, expected, atol=1e-5)


@pytest.mark.usefixtures("everything_is_cut")
def test_a_model_whose_body_is_a_property_is_cut_where_its_layers_are(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    plain, model = streamed(tiny(tied=True)), Wrapped(streamed(tiny(tied=True)))
    expected, _ = score_source(plain, WINDOWS, tmp_path / "plain.npy", quiet)
    losses, whole = score_source(model, WINDOWS, tmp_path / "states.npy", quiet)
    assert not whole and np.array_equal(losses, expected)
    assert (tmp_path / "states.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()
    states = np.load(tmp_path / "states.npy", mmap_mode="r")
    few = mx.array(states[0, :16])
    assert split.cut_head(model, whole, few).step == split.cut_head(plain, whole, few).step > 0
    found = score_model(model, WINDOWS, quiet, Source(model, whole, states))
    assert found.divergence is not None and found.divergence.max() < 1e-9


@pytest.mark.usefixtures("everything_is_cut")
def test_a_head_that_indexes_its_vocabulary_only_ever_sees_all_of_it(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a part of it, MLX would write outside of the logits."""
    model = masking(streamed(tiny(tied=False)))
    windows = np.where(np.isin(WINDOWS, NEVER_SAID), 1, WINDOWS)
    logits = np.array(model(mx.array(windows[:, :-1]))).astype(np.float64)
    assert np.isneginf(logits[..., list(NEVER_SAID)]).all()
    expected = -np.take_along_axis(log_softmax(logits), windows[:, 1:, None], -1)[..., 0]

    def part(*_: object) -> None:
        pytest.fail("a part of the head was run")

    monkeypatch.setattr(split, "window", part)
    losses, whole = score_source(model, windows, tmp_path / "states.npy", quiet)
    assert not whole and np.allclose(losses, expected, atol=1e-5)
    states = np.load(tmp_path / "states.npy", mmap_mode="r")
    found = score_model(model, windows, quiet, Source(model, whole, states))
    assert np.allclose(found.losses, expected, atol=1e-5)
    assert found.divergence is not None and found.divergence.max() < 1e-9


def test_a_token_that_only_the_model_masks_is_an_infinite_divergence(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source, model = load_for_scoring(tiny(tied=True)), masking(load_for_scoring(tiny(tied=True)))
    windows = np.where(np.isin(WINDOWS, NEVER_SAID), 1, WINDOWS)
    _, whole = score_source(source, windows, tmp_path / "states.npy", quiet)
    states = np.load(tmp_path / "states.npy", mmap_mode="r")
    with pytest.raises(ForgeError, match="divergence from the source is not finite on window 0"):
        score_model(model, windows, quiet, Source(source, whole, states))


@pytest.mark.parametrize("resident", [600, 1 << 30])
def test_tokens_that_the_model_does_not_know_are_refused(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: int
) -> None:
    monkeypatch.setattr(leaves, "RESIDENT", resident)
    model = streamed(tiny(tied=True))
    rows = model(mx.array(WINDOWS[:1])).shape[-1]
    windows = WINDOWS.copy()
    windows[0, 0] = rows - 1
    score_model(model, windows, quiet)
    windows[-1, -2] = rows
    with pytest.raises(ForgeError, match=f"token {rows} is beyond .* vocabulary of {rows}"):
        score_source(model, windows, tmp_path / "states.npy", quiet)
    with pytest.raises(ForgeError, match=f"token {rows} is beyond") as raised:
        score_model(Wrapped(model), windows, quiet)
    assert raised.value.hint == "is this the model's tokenizer?"


def test_logits_that_are_not_finite_are_refused(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = load_for_scoring(tiny(tied=False))
    model.model.norm.weight = model.model.norm.weight * float("inf")
    with pytest.raises(ForgeError, match="the model gives no finite loss on window 0") as raised:
        score_model(model, WINDOWS, quiet)
    assert "more bits" in str(raised.value.hint)
    with pytest.raises(ForgeError, match="the source gives no finite loss on window 0") as raised:
        score_source(model, WINDOWS, tmp_path / "states.npy", quiet)
    assert "bits" not in str(raised.value.hint)


def test_logits_that_hardly_differ_are_still_compared(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """What is equal depends on how far the logits themselves lie apart."""
    model = load_for_scoring(tiny(tied=False))

    class Faint(type(model)):
        def __call__(self, tokens: mx.array, cache: None = None) -> mx.array:
            states = self.model(tokens) + self.model.embed_tokens(tokens)
            return self.lm_head(states) * 1e-5

    model.__class__ = Faint
    assert split.split_model(model, mx.array(WINDOWS[:1, :16])).whole


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
