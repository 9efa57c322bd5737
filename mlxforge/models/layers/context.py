"""How much memory a context takes, asked of the model itself, whatever its architecture.

The model runs over tokens of which nothing is ever computed: MLX is lazy, shapes and dtypes are
known without numbers, and so are the sizes of what its cache would hold. It runs as a function
that MLX traces, in which whatever asks for a number fails instead of computing a whole model.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

from mlxforge.models.layers.cache import STEP, CacheBytes

__all__ = ["WIDTHS", "measure_cache"]

WIDTHS = {"bfloat16": mx.bfloat16, "float32": mx.float32}
"""Dtypes of activations; one stands for all that are as wide."""

PLAIN = (STEP, 2 * STEP)  # tokens: without a window, sizes grow evenly from the first on
MOST_WINDOW = 1 << 17  # tokens; a longer one is never full


def measure_cache(
    model: nn.Module, casts: Callable[[str], bool] = lambda name: True
) -> dict[str, CacheBytes] | None:
    """What one sequence's cache takes by the dtype of the activations (``WIDTHS``), once at least
    one token was generated; a longer prompt passes through in parts, each of which takes more for
    a while. None for a model that does not run so; the log tells why.

    ``model`` is one of text, or the language side of one: tokens [1, n] in. Its parameters are
    only looked at. ``casts`` tells which of them a cast does not skip.
    """
    before = model.parameters()
    try:
        return {name: _measure(model, casts, dtype) for name, dtype in WIDTHS.items()}
    except Exception:
        traceback.print_exc()
        return None
    finally:
        model.update(before)


def _measure(model: nn.Module, casts: Callable[[str], bool], dtype: mx.Dtype) -> CacheBytes:
    def placeholder(name: str, value: mx.array) -> mx.array:
        cast = mx.issubdtype(value.dtype, mx.floating) and casts(name)
        return mx.zeros(value.shape, dtype if cast else value.dtype)

    model.update(tree_map_with_path(placeholder, model.parameters()))
    found: list[CacheBytes] = []

    def run(token: mx.array) -> mx.array:
        found.append(CacheBytes(tuple(_points(model, token))))
        return token

    mx.compile(run)(mx.zeros((1, 1), dtype=mx.int32))
    return found[-1]


def _points(model: nn.Module, token: mx.array) -> Iterator[tuple[int, int]]:
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    lengths = _lengths(list(_windows(cache)))
    for before, length in pairwise((0, *lengths)):
        model(mx.broadcast_to(token, (1, length - 1 - before)), cache=cache)
        model(token, cache=cache)
        yield length, _bytes(cache)


def _lengths(windows: list[int]) -> list[int]:
    """The corners of what grows until windows are full, and then evenly: before and after each
    window's end, and once more, to see how it goes on."""
    ends = {window // STEP * STEP for window in windows}
    corners = {end + more for end in ends for more in (0, STEP, 2 * STEP)}
    return sorted({*PLAIN, *corners} - {0})


def _windows(cache: Any) -> Iterator[int]:
    """How many tokens the parts of a cache hold at most, of those that forget."""
    for part in cache if isinstance(cache, (list, tuple)) else getattr(cache, "caches", ()):
        yield from _windows(part)
    for name in ("max_size", "chunk_size"):
        size = getattr(cache, name, None)
        if isinstance(size, int) and 0 < size <= MOST_WINDOW:
            yield size


def _bytes(cache: Any) -> int:
    """Of every array that the cache holds on to, each once."""
    arrays = {id(array): array for array in _arrays(cache)}
    return sum(array.nbytes for array in arrays.values())


def _arrays(held: Any) -> Iterator[mx.array]:
    if isinstance(held, mx.array):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from _arrays(value)
    elif isinstance(held, (list, tuple)):
        for value in held:
            yield from _arrays(value)
    elif hasattr(held, "__dict__"):
        yield from _arrays(vars(held))
