"""A model cut before its head: states [tokens, hidden_size] instead of logits [tokens, vocabulary].

The logits of a text are its largest product by far (vocabulary / hidden_size is 20 to 100). Kept
as states, they can be stored whole and turned into exact logits again, some tokens and some of
the vocabulary at a time. The cut needs no knowledge of the architecture: its own ``__call__`` is
run while the body, the module that holds the layers, returns the given states, so that tied heads,
scaling and soft caps apply. Where that does not give the same logits, the states are the logits
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.errors import ForgeError
from mlxforge.models.exchanged import called_as
from mlxforge.models.scoring.leaves.columns import columns_stand_alone
from mlxforge.models.scoring.leaves.held import Holder, watched, window

__all__ = ["Head", "Split", "cut_head", "find_body", "split_model"]

BODIES = ("language_model", "model", "backbone", "transformer")  # where more than one has layers
TOLERANCE = 1e-4  # of the standard deviation of the logits


@dataclass(frozen=True)
class Head:
    """``columns``: states [n, width], start, stop -> logits [n, stop - start] of these entries of
    the ``vocabulary``. Ranges are best cut at multiples of ``step``; 0 means that the head gives
    whole rows only."""

    columns: Callable[[mx.array, int, int], mx.array]
    vocabulary: int
    step: int


@dataclass(frozen=True)
class Split:
    """``states``: tokens [windows, n] -> [windows, n, width], which ``head`` takes as [n, width].

    ``whole`` is True where the model could not be cut, and states are logits.
    """

    states: Callable[[mx.array], mx.array]
    head: Head
    whole: bool


def find_body(model: nn.Module) -> nn.Module | None:
    """The module that holds the list of layers, however deep; None where there is no such.

    It is found from the modules alone, so that a model's source and its quantized forms are cut
    in the same place.
    """
    if _holds_layers(model):
        return None  # its head lies among them
    inner = {name: child for name, child in model.items() if isinstance(child, nn.Module)}
    layered = {name: child for name, child in inner.items() if _has_layers(child)}
    names = [name for name in BODIES if name in layered] or list(layered)
    if not names:
        return None
    body = layered[names[0]]
    return body if _holds_layers(body) else find_body(body)


def split_model(model: nn.Module, probe: mx.array) -> Split:
    """Cut ``model`` before its head, if that can be done.

    ``probe`` is a short piece of real tokens, int32 [1, n], on which both ways are compared. The
    whole model runs once.
    """
    body = find_body(model)
    seen: list[mx.array] = []
    with _noted(body, seen):
        plain = model(probe)
        mx.eval(plain)
    if body is not None and seen and seen[-1].shape[-1] != plain.shape[-1]:  # not logits already
        states = seen[-1]
        try:
            cut = _logits(model, body, states)
            if cut.shape == plain.shape and _equal(cut, plain):
                head = cut_head(model, False, states[0])
                return Split(lambda tokens: _states(model, body, tokens), head, False)
        except (ForgeError, OSError, MemoryError):
            raise
        except Exception:  # an architecture that does not work this way, in whatever way
            pass
    return Split(model, cut_head(model, True, plain[0]), True)


def cut_head(model: nn.Module, whole: bool, states: mx.array) -> Head:
    """The head of a model whose body need not run; ``whole`` says whether it could be cut.

    ``states`` are some real ones, [n, width]: on these it is tried whether a part of the last
    layer's rows gives that part of the logits, once that is known to be safe.
    """
    if whole:
        return Head(lambda states, start, stop: states[:, start:stop], states.shape[1], 1)
    body = find_body(model)
    assert body is not None
    with watched() as trail:
        plain = _logits(model, body, states[None])[0]
        mx.eval(plain)
    vocabulary = plain.shape[1]
    last = next((module for module in reversed(trail) if module._held.rows == vocabulary), None)

    def columns(states: mx.array, start: int, stop: int) -> mx.array:
        if (start, stop) == (0, vocabulary):
            return _logits(model, body, states[None])[0]
        assert isinstance(last, Holder)
        with window(last, start, stop):
            return _logits(model, body, states[None])[0]

    def logits() -> mx.array:
        return _logits(model, body, states[None])

    step = 0
    if isinstance(last, Holder) and columns_stand_alone(logits, last, len(states)):
        step = last._held.step
    if step and vocabulary > 1:
        middle = step if step < vocabulary else vocabulary // 2
        try:
            halves = [columns(states, 0, middle), columns(states, middle, vocabulary)]
            step = step if _equal(mx.concatenate(halves, axis=1), plain) else 0
        except (ForgeError, OSError, MemoryError):
            raise
        except Exception:  # the head asks for the vocabulary's size
            step = 0
    return Head(columns, vocabulary, step)


def _has_layers(module: nn.Module) -> bool:
    return any(_holds_layers(inner) for _, inner in module.named_modules())


def _holds_layers(module: nn.Module) -> bool:
    return any(
        isinstance(value, list) and any(isinstance(layer, nn.Module) for layer in value)
        for value in module.values()
    )


class _Enough(Exception):
    """The states are known, and the head need not run."""


@contextmanager
def _noted(body: nn.Module | None, seen: list[mx.array], stop: bool = False) -> Iterator[None]:
    """Put the states that ``body`` gives into ``seen``, and go no further if ``stop``."""
    if body is None:
        yield
        return
    kind = type(body)

    def call(body: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found = kind.__call__(body, *args, **kwargs)
        if isinstance(found, mx.array) and found.ndim == 3:
            seen.append(_apart(found))
        if stop:
            raise _Enough
        return found

    with called_as(body, call):
        yield


def _states(model: nn.Module, body: nn.Module, tokens: mx.array) -> mx.array:
    seen: list[mx.array] = []
    try:
        with _noted(body, seen, stop=True):
            model(tokens)
    except _Enough:
        pass
    return seen[-1]


def _logits(model: nn.Module, body: nn.Module, states: mx.array) -> mx.array:
    tokens = mx.zeros(states.shape[:2], dtype=mx.int32)
    with called_as(body, lambda *_, **__: _apart(states)):
        logits: mx.array = model(tokens)
    return logits


def _apart(states: mx.array) -> mx.array:
    """The same numbers in an array of their own: a head may change the one it is given."""
    return mx.stop_gradient(states)


def _equal(one: mx.array, other: mx.array) -> bool:
    """Within the rounding of float32, infinities included."""
    one, other = one.astype(mx.float32), other.astype(mx.float32)
    finite = mx.isfinite(other)
    count = mx.maximum(finite.sum(), 1)
    mean = mx.where(finite, other, 0).sum() / count
    spread = mx.sqrt(mx.where(finite, mx.square(other - mean), 0).sum() / count)
    near = mx.where(finite, mx.abs(one - other) <= TOLERANCE * spread, one == other)
    return bool(near.all())
