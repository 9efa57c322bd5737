"""How much columns matter, of experts that a text has told much, little or nothing of."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlxforge.quantize.importance import Importance

COLUMNS = np.array([[1, 2, 3], [5, 4, 9], [0, 0, 0]], np.float32)


def test_an_expert_that_too_few_tokens_came_by_is_likely_to_see_what_all_see() -> None:
    known = Importance(COLUMNS, np.array([96, 32, 0]))
    assert known.unknown() == [1, 2]
    assert known.of(1) is None and known.of(2) is None
    assert mx.array_equal(known.likely(0), mx.array(COLUMNS[0]))
    for expert in (1, 2):
        assert np.allclose(known.likely(expert), [2, 2.5, 4.5])


def test_means_go_with_the_squares_that_are_likely() -> None:
    known = Importance(COLUMNS, np.array([96, 32, 0]), -COLUMNS)
    assert mx.array_equal(known.likely_means(0), mx.array(-COLUMNS[0]))
    for expert in (1, 2):
        assert np.allclose(known.likely_means(expert), [-2, -2.5, -4.5])
    assert Importance(COLUMNS, np.array([96, 32, 0])).likely_means(0) is None
    assert Importance(COLUMNS, np.array([30, 30, 3]), COLUMNS).likely_means(0) is None


def test_nothing_is_likely_where_hardly_a_token_came() -> None:
    assert Importance(COLUMNS, np.array([30, 30, 3])).likely(0) is None
    assert Importance(COLUMNS[0], np.array(63)).likely(0) is None
    assert mx.array_equal(Importance(COLUMNS[0], np.array(64)).likely(0), mx.array(COLUMNS[0]))
