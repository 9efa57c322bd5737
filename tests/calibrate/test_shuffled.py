"""Orders by chance: those that numpy gives now, for good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.calibrate.shuffled import _below, permutation


def test_these_orders_are_for_good() -> None:
    assert permutation(10, 0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert permutation(12, [3, 1]).tolist() == [0, 4, 11, 1, 2, 5, 10, 7, 9, 8, 6, 3]
    assert permutation(0, 5).tolist() == [] and permutation(1, 5).tolist() == [0]


@given(st.integers(0, 400), st.integers(0, 2**40) | st.lists(st.integers(0, 99), min_size=1))
def test_they_are_what_this_numpy_gives(count: int, seed: int | list[int]) -> None:
    expected = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    assert np.array_equal(permutation(count, seed), expected)


@pytest.mark.parametrize(("bound", "word"), [(2, 1), (3, 3), (5, 6), (2**31 + 1, 2**32 - 1)])
def test_a_word_that_is_too_large_is_passed_over(bound: int, word: int) -> None:
    words = iter([word, 4])
    mask = (1 << (bound - 1).bit_length()) - 1
    if word & mask < bound:
        assert _below(bound, words) == word & mask
    else:
        assert _below(bound, words) == 4 & mask
        assert next(words, None) is None
