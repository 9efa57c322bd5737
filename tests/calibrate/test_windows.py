"""Which windows of a text are learned from, and which are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.calibrate.windows import Windows, calibration_windows, drawn_windows
from mlxforge.errors import ForgeError
from mlxforge.evaluate.windows import token_windows
from mlxforge.models.source.load import load_tokenizer
from tests.conftest import DEMO

WINDOWS = np.random.default_rng(3).integers(0, 500, size=(7, 48)).astype(np.int32)


def test_a_seed_chooses_the_windows_of_a_text() -> None:
    tokenizer = load_tokenizer(DEMO / "model")
    text = DEMO / "heldout.txt"
    first = calibration_windows(text, tokenizer, 6, 32, seed=1).learned
    assert first.shape == (6, 32)
    assert np.array_equal(first, calibration_windows(text, tokenizer, 6, 32, seed=1).learned)
    assert not np.array_equal(first, calibration_windows(text, tokenizer, 6, 32, seed=2).learned)
    more = rows(calibration_windows(text, tokenizer, 60, 32, seed=1).learned)
    assert rows(first) < more and len(more) == 60


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 170), seed=st.integers(0, 3))
def test_nothing_is_learned_from_what_is_held_out(samples: int, seed: int) -> None:
    tokenizer, text = load_tokenizer(DEMO / "model"), DEMO / "heldout.txt"
    every = token_windows(text, tokenizer, 1 << 20, 200)
    assert len(rows(every)) == 170
    found = calibration_windows(text, tokenizer, samples, 200, seed)
    assert len(found.learned) == samples
    assert len(found.held_out) == min(-(-samples // 8), len(every) - samples)
    assert not rows(found.learned) & rows(found.held_out)
    assert rows(found.learned) | rows(found.held_out) <= rows(every)


def rows(windows: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in windows.tolist()}


def test_windows_are_read_as_they_were_written(tmp_path: Path) -> None:
    windows = Windows(WINDOWS[:5], WINDOWS[5:])
    windows.write(tmp_path)
    found = Windows.read(tmp_path)
    assert np.array_equal(found.learned, windows.learned)
    assert np.array_equal(found.held_out, windows.held_out)


def test_too_short_a_text_says_how_many_windows_it_gives() -> None:
    tokenizer = load_tokenizer(DEMO / "model")
    with pytest.raises(ForgeError, match=r"enough tokens for 6 x 64, not for 4096 x 64"):
        calibration_windows(DEMO / "README.md", tokenizer, 4096, 64, seed=0)


def test_drawn_tokens_are_the_seeds_and_all_of_the_vocabulary() -> None:
    found = drawn_windows(90, 8, 256, seed=0)
    first, none = found.learned, found.held_out
    assert first.shape == (8, 256) and first.dtype == np.int32 and none.shape == (0, 256)
    assert np.array_equal(first, drawn_windows(90, 8, 256, seed=0).learned)
    assert not np.array_equal(first, drawn_windows(90, 8, 256, seed=1).learned)
    assert {*first.reshape(-1).tolist()} == {*range(90)}
