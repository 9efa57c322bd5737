"""The figures, against plain float64 arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.evaluate.divergence import compare, summary, token_losses
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.evaluate.windows import token_windows, tokens_digest


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 20), drift=st.floats(0, 3))
def test_divergence_losses_and_agreement_are_the_definitions(
    seed: int, spread: float, drift: float
) -> None:
    random = np.random.default_rng(seed)
    source = (random.normal(size=(7, 300)) * spread).astype(np.float32)
    model = (source + random.normal(size=source.shape) * drift).astype(np.float32)
    targets = random.integers(0, 300, size=7).astype(np.int32)
    kl, agrees, losses = map(
        np.array, compare(mx.array(source), mx.array(model), mx.array(targets))
    )
    p, q = log_softmax(source), log_softmax(model)
    assert np.allclose(kl, (np.exp(p) * (p - q)).sum(-1), rtol=1e-3, atol=2e-5)
    assert (agrees == (source.argmax(-1) == model.argmax(-1))).all()
    assert np.allclose(losses, -q[np.arange(7), targets], rtol=1e-4, atol=1e-4)
    alone = np.array(token_losses(mx.array(model), mx.array(targets)))
    assert np.allclose(alone, losses)


def test_a_model_does_not_diverge_from_itself() -> None:
    logits = mx.random.normal((5, 1000)) * 10
    kl, agrees, _ = compare(logits, logits, mx.zeros(5, dtype=mx.int32))
    assert kl.max().item() == 0 and bool(agrees.all())


def test_perplexity_and_its_error_are_mlx_lms() -> None:
    losses = np.random.default_rng(0).gamma(2.0, size=500).astype(np.float32)
    found = perplexity(losses.reshape(5, 100))
    assert math.isclose(found.value, math.exp(losses.mean(dtype=np.float64)), rel_tol=1e-9)
    error = found.value * losses.std(ddof=1, dtype=np.float64) / math.sqrt(500)
    assert math.isclose(found.standard_error, error, rel_tol=1e-9)
    assert found.tokens == 500


def test_the_summary_names_mean_median_tail_and_worst() -> None:
    assert summary(np.arange(101, dtype=np.float32)) == {
        "mean": 50.0,
        "median": 50.0,
        "p99": 99.0,
        "max": 100.0,
    }


class Letters:
    """A tokenizer with one token per character."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(letter) for letter in text]


def test_windows_are_cut_one_after_the_other(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcdefghij")
    windows = token_windows(text, Letters(), 2, 3)
    assert ["".join(map(chr, row)) for row in windows] == ["abc", "def"]
    assert token_windows(text, Letters(), 9, 3).shape == (3, 3)
    assert tokens_digest(windows) != tokens_digest(windows[::-1])


def test_a_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ab")
    with pytest.raises(ForgeError, match="has 2 tokens, less than one window of 3"):
        token_windows(text, Letters(), 1, 3)


def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"ab\xff")
    with pytest.raises(ForgeError, match="is not UTF-8: invalid start byte at byte 2"):
        token_windows(text, Letters(), 1, 1)
