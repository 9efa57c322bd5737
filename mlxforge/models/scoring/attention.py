"""Attention in blocks, for float32 on a CPU.

MLX's own there holds the scores of all heads at once, [batch, heads, length, length], computes
those that the causal mask throws away, and takes one thread for a slow softmax. Blocks of queries
give the same numbers in a fraction of the memory, and numpy's softmax runs on all cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any

import mlx.core as mx
import numpy as np

__all__ = ["blocked_attention"]

SCORE_BYTES = 2 << 20  # of one block of scores
SMALL = 1 << 20  # bytes of scores that are not worth the trouble
LEAST = np.finfo(np.float32).min

Softmax = Callable[[np.ndarray], None]
"""Over the last axis of [rows, keys], in place."""


@contextmanager
def blocked_attention(threads: int) -> Iterator[None]:
    """``mx.fast.scaled_dot_product_attention`` in blocks, wherever the model calls it.

    ``threads`` share a softmax: 1 where the caller has one for each core.
    """
    original = mx.fast.scaled_dot_product_attention
    with ExitStack() as stack:
        softmax: Softmax = _softmax
        if threads > 1:
            pool = stack.enter_context(ThreadPoolExecutor(threads, "attention"))
            softmax = partial(_shared_softmax, pool, threads)

        def attention(
            q: mx.array, k: mx.array, v: mx.array, *, scale: float, mask: Any = None, **rest: Any
        ) -> mx.array:
            plain = all(value is None for value in rest.values())
            floats = q.dtype == k.dtype == v.dtype == mx.float32
            known = mask is None or isinstance(mask, mx.array) or mask == "causal"
            if not (plain and floats and known) or 4 * q.size // q.shape[3] * k.shape[2] < SMALL:
                return original(q, k, v, scale=scale, mask=mask, **rest)
            return _attention(softmax, q, k, v, scale, mask)

        mx.fast.scaled_dot_product_attention = attention
        try:
            yield
        finally:
            mx.fast.scaled_dot_product_attention = original


def _attention(
    softmax: Softmax, q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Any
) -> mx.array:
    """q [batch, heads, length, d], k and v [batch, kv_heads, keys, d]: as mx.fast has them."""
    batch, heads, length, width = q.shape
    groups, reach = k.shape[1:3]
    q = (q * scale).reshape(batch, groups, heads // groups, length, width)
    mx.eval(q, k, v)
    allowed = None
    if isinstance(mask, mx.array):
        # numpy has no bfloat16
        mask = np.array(mask if mask.dtype == mx.bool_ else mask.astype(mx.float32))
        allowed = np.broadcast_to(mask, (batch, heads, length, reach))
        allowed = allowed.reshape(*q.shape[:-1], reach)
    step = max(1, SCORE_BYTES // (4 * heads // groups * reach))
    found = []
    for entry in range(batch):
        for group in range(groups):
            blocks = []
            for start in range(0, length, step):
                stop = min(start + step, length)
                seen = reach - length + stop if isinstance(mask, str) else reach
                some = q[entry, group, :, start:stop].reshape(-1, width)
                scores = some @ k[entry, group, :seen].T
                mx.eval(scores)
                rows = np.asarray(scores).reshape(-1, stop - start, seen)  # the array's own memory
                if allowed is not None:
                    _apply(rows, allowed[entry, group, :, start:stop])
                elif isinstance(mask, str):
                    own = rows[:, :, seen - (stop - start) :]
                    np.copyto(own, LEAST, where=_later(stop - start))
                softmax(rows.reshape(-1, seen))
                blocks.append((scores @ v[entry, group, :seen]).reshape(*rows.shape[:2], -1))
                mx.eval(blocks[-1])
            found.append(mx.concatenate(blocks, axis=1))
    return mx.stack(found).reshape(batch, heads, length, -1)


@lru_cache(maxsize=8)
def _later(count: int) -> np.ndarray:
    later: np.ndarray = ~np.tri(count, dtype=bool)
    return later


def _apply(scores: np.ndarray, mask: np.ndarray) -> None:
    if mask.dtype == bool:
        np.copyto(scores, LEAST, where=~mask)
    else:
        scores += mask


def _shared_softmax(pool: ThreadPoolExecutor, threads: int, scores: np.ndarray) -> None:
    for _ in pool.map(_softmax, np.array_split(scores, threads)):
        pass


def _softmax(rows: np.ndarray) -> None:
    rows -= rows.max(axis=-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=-1, keepdims=True)
