"""What a block has made of each wave so far, for as long as it is in hand.

A block is run once for each of its stages, and each time the layers of all stages before would
multiply the same inputs by the same weights, and attention would weigh the same values. What they
made is given back instead, as far as a shelf has room. Where a weight has been exchanged since, it
is computed again; and so is what comes behind the layer in hand, whose weights are yet to change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.calibrate.shelf import Place, Shelf
from mlxforge.models.exchanged import called_as

__all__ = ["Outputs"]


class Outputs:
    """``modules`` are those of the model, by path; what they make is on ``shelf``."""

    def __init__(self, modules: Mapping[str, nn.Module], shelf: Shelf) -> None:
        self._modules = modules
        self._shelf = shelf
        self._known: dict[Hashable, tuple[tuple[object, ...], Place]] = {}
        self._own = threading.local()
        self._passed: list[str] = []
        self._once: list[str] = []

    def clear(self) -> None:
        """A block is done."""
        for _, place in self._known.values():
            place.leave()
        self._known.clear()
        self._passed.clear()
        self._once.clear()

    def passed(self, path: str, once: bool) -> None:
        """A layer will not be the last one of a run any more; ``once``: the block has one use of
        it, so that a wave has one output."""
        self._passed.append(path)
        if once and not hasattr(self._modules[path], "as_linear"):
            self._once.append(path)

    @contextmanager
    def given(self) -> Iterator[None]:
        """While it lasts, what is known is given to runs of ``of``."""
        with ExitStack() as stack:
            for path in self._once:
                stack.enter_context(self._layer(path))
            if self._passed:  # nothing before the first is run again
                stack.enter_context(self._attention())
            yield

    @contextmanager
    def of(self, wave: int) -> Iterator[None]:
        """What this thread runs meanwhile is the block for ``wave``."""
        self._own.wave, self._own.attentions, self._own.beyond = wave, 0, False
        try:
            yield
        finally:
            del self._own.wave

    def go_beyond(self) -> None:
        """What this thread runs of the block from here on comes behind the layer in hand."""
        self._own.beyond = True

    def _layer(self, path: str) -> AbstractContextManager[None]:
        module = self._modules[path]
        kind = type(module)

        def call(layer: nn.Module, *args: Any, **kwargs: Any) -> mx.array:
            key = path, self._own.wave
            return self._found(key, (layer._matrix,), lambda: kind.__call__(layer, *args, **kwargs))

        return called_as(module, call)

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """The n-th of a run; layers that come before it have passed, unless it is beyond them."""
        original = mx.fast.scaled_dot_product_attention
        made_of = tuple(self._modules[path]._matrix for path in self._passed)

        def attention(*args: Any, **kwargs: Any) -> mx.array:
            if not hasattr(self._own, "wave") or self._own.beyond:  # or another model's
                return original(*args, **kwargs)
            key = self._own.attentions, self._own.wave
            self._own.attentions += 1
            return self._found(key, made_of, lambda: original(*args, **kwargs))

        mx.fast.scaled_dot_product_attention = attention
        try:
            yield
        finally:
            mx.fast.scaled_dot_product_attention = original

    def _found(
        self, key: Hashable, made_of: tuple[object, ...], make: Callable[[], mx.array]
    ) -> mx.array:
        """What is known under ``key`` if it was made of these, or the first of these."""
        parts, place = self._known.get(key, ((), None))
        if place is not None:
            if all(a is b for a, b in zip(parts, made_of, strict=False)):
                known: mx.array = place.read()
                return known
            del self._known[key]
            place.leave()
        made = make()
        if place := self._shelf.spare(made):
            self._known[key] = made_of, place
        return made[...]
