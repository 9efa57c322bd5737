"""Attention in blocks gives MLX's own numbers."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxforge.models.scoring import attention
from mlxforge.models.scoring.attention import blocked_attention

MASKS = {
    "none": lambda length, reach: None,
    "causal": lambda length, reach: "causal",
    "boolean": lambda length, reach: mx.random.uniform(shape=(length, reach)) < 0.7,
    "added": lambda length, reach: mx.random.normal((2, 1, length, reach)),
    "bfloat16": lambda length, reach: mx.random.normal((length, reach)).astype(mx.bfloat16),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("length", "reach"), [(37, 37), (5, 37), (1, 37)])
@pytest.mark.parametrize(("rows", "threads"), [(1, 2), (7, 1), (7, 2), (1000, 2)])
def test_blocks_of_any_size_give_the_same(
    monkeypatch: pytest.MonkeyPatch, kind: str, length: int, reach: int, rows: int, threads: int
) -> None:
    monkeypatch.setattr(attention, "SMALL", 0)
    monkeypatch.setattr(attention, "SCORE_BYTES", rows * 4 * 3 * reach)
    mx.random.seed(0)
    q = mx.random.normal((2, length, 6, 16)).swapaxes(1, 2)  # as models have it
    k, v = mx.random.normal((2, 2, reach, 16)), mx.random.normal((2, 2, reach, 8))
    mask = MASKS[kind](length, reach)
    expected = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=mask)
    own = mx.fast.scaled_dot_product_attention
    with blocked_attention(threads):
        found = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=mask)
    assert mx.fast.scaled_dot_product_attention is own
    assert found.shape == expected.shape and mx.allclose(found, expected, atol=1e-5)


def test_sinks_and_other_dtypes_are_left_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SMALL", 0)
    q = mx.random.normal((1, 2, 8, 16))
    sinks = mx.zeros(2)
    expected = mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0, sinks=sinks)
    half = q.astype(mx.bfloat16)
    with blocked_attention(threads=2):
        found = mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0, sinks=sinks)
        assert mx.array_equal(found, expected)
        narrow = mx.fast.scaled_dot_product_attention(half, half, half, scale=1.0)
        assert narrow.dtype == mx.bfloat16
