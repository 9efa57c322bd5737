"""The figures, against plain float64 arithmetic."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.evaluate.divergence import summary
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.evaluate.tally import Tally
from mlxforge.evaluate.windows import token_windows, tokens_digest


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@given(
    seed=st.integers(0, 10_000),
    spread=st.floats(0.01, 20),
    drift=st.floats(0, 3),
    cuts=st.sets(st.integers(1, 299)),
    split=st.integers(1, 7),
)
def test_divergence_losses_and_agreement_are_the_definitions_however_they_are_cut(
    seed: int, spread: float, drift: float, cuts: set[int], split: int
) -> None:
    random = np.random.default_rng(seed)
    source = (random.normal(size=(7, 300)) * spread).astype(np.float32)
    model = (source + random.normal(size=source.shape) * drift).astype(np.float32)
    targets = random.integers(0, 300, size=7).astype(np.int32)
    together, alone = Tally(targets), Tally(targets)
    edges = [0, *sorted(cuts), 300]
    for start, stop in pairwise(edges):
        for rows in (slice(0, split), slice(split, 7)):
            pieces = [logits[rows, start:stop] for logits in (model, source)]
            together.add(rows, start, *pieces)
            alone.add(rows, start, pieces[0])
    p, q = log_softmax(source), log_softmax(model)
    assert np.allclose(together.divergence, (np.exp(p) * (p - q)).sum(-1), rtol=1e-3, atol=2e-5)
    assert (together.agrees == (source.argmax(-1) == model.argmax(-1))).all()
    assert np.allclose(together.losses, -q[np.arange(7), targets], rtol=1e-4, atol=1e-4)
    assert (alone.losses == together.losses).all()


def test_a_model_does_not_diverge_from_itself() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 1000)).astype(np.float32) * 10
    tally = Tally(np.zeros(5, dtype=np.int32))
    for start in range(0, 1000, 300):
        piece = logits[:, start : start + 300]
        tally.add(slice(0, 5), start, piece, piece)
    assert tally.divergence.max() == 0 and tally.agrees.all()


@pytest.mark.parametrize("width", [1, 4, 8])
def test_tokens_that_both_mask_contribute_nothing(width: int) -> None:
    """Also where a piece holds no others, first or last."""
    random = np.random.default_rng(0)
    model, source = random.normal(size=(2, 5, 4)).astype(np.float32) * 3
    hidden = np.full((5, 2), -np.inf, dtype=np.float32)
    targets = np.array([2, 3, 4, 5, 2], dtype=np.int32)
    tally, plain = Tally(targets), Tally(targets - 2)
    plain.add(slice(0, 5), 0, model, source)
    model, source = (np.concatenate([hidden, each, hidden], axis=1) for each in (model, source))
    for start in range(0, 8, width):
        columns = slice(start, start + width)
        tally.add(slice(0, 5), start, model[:, columns], source[:, columns])
    assert np.allclose(tally.losses, plain.losses, atol=1e-6)
    assert np.allclose(tally.divergence, plain.divergence, atol=1e-6)
    assert np.array_equal(tally.agrees, plain.agrees)


def test_a_token_that_one_of_them_masks() -> None:
    source = np.zeros((1, 3), dtype=np.float32)
    model = np.array([[0, 0, -np.inf]], dtype=np.float32)
    for mine, theirs, divergence in ((model, source, np.inf), (source, model, np.log(3 / 2))):
        tally = Tally(np.zeros(1, dtype=np.int32))
        tally.add(slice(0, 1), 0, mine, theirs)
        assert np.isclose(tally.divergence[0], divergence)


def test_of_equal_logits_the_lowest_token_ranks_first() -> None:
    source = np.zeros((1, 6), dtype=np.float32)
    model = np.array([[0, 0, 1, 0, 1, 0]], dtype=np.float32)
    for logits, agrees in ((source, True), (model, False)):
        tally = Tally(np.zeros(1, dtype=np.int32))
        for start in range(0, 6, 2):
            columns = slice(start, start + 2)
            tally.add(slice(0, 1), start, logits[:, columns], source[:, columns])
        assert bool(tally.agrees[0]) is agrees
    twice = Tally(np.zeros(1, dtype=np.int32))
    moved = np.array([[0, 0, 1, 0, 0.5, 0]], dtype=np.float32)
    for start in range(0, 6, 2):
        columns = slice(start, start + 2)
        twice.add(slice(0, 1), start, model[:, columns], moved[:, columns])
    assert twice.agrees[0]


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
