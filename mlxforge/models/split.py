"""A model cut before its head: states [tokens, hidden_size] instead of logits [tokens, vocabulary].

The logits of a text are its largest product by far (vocabulary / hidden_size is 20 to 100). Kept
as states, they can be stored whole and turned into exact logits again, some tokens and some of
the vocabulary at a time. The cut needs no knowledge of the architecture: its own ``__call__`` is
run with the body replaced by one that returns the given states, so that tied heads, scaling and
soft caps apply. Where that does not give the same logits, the states are the logits themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.errors import ForgeError
from mlxforge.models.leaves.held import Holder, watched, window

__all__ = ["Head", "Split", "cut_head", "split_model"]


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


def split_model(model: nn.Module, probe: mx.array) -> Split:
    """Cut ``model`` before its head, if that can be done.

    ``probe`` is a short piece of real tokens, int32 [1, n], on which both ways are compared. The
    whole model runs once.
    """
    body = _Body(getattr(model, "model", None))
    with _in_place_of_body(model, body):
        plain = model(probe)
        mx.eval(plain)
    if body.states is not None:
        try:
            cut = _logits(model, body.states)
            if cut.shape == plain.shape and _equal(cut, plain):
                head = cut_head(model, False, body.states[0])
                return Split(lambda tokens: _states(model, tokens), head, False)
        except (ForgeError, OSError, MemoryError):
            raise
        except Exception:  # an architecture that does not work this way, in whatever way
            pass
    return Split(model, cut_head(model, True, plain[0]), True)


def cut_head(model: nn.Module, whole: bool, states: mx.array) -> Head:
    """The head of a model whose body need not run; ``whole`` says whether it could be cut.

    ``states`` are some real ones, [n, width]: on these it is tried whether a part of the last
    layer's rows gives that part of the logits.
    """
    if whole:
        return Head(lambda states, start, stop: states[:, start:stop], states.shape[1], 1)
    with watched() as trail:
        plain = _logits(model, states[None])[0]
        mx.eval(plain)
    vocabulary = plain.shape[1]
    last = next((module for module in reversed(trail) if module._held.rows == vocabulary), None)

    def columns(states: mx.array, start: int, stop: int) -> mx.array:
        if (start, stop) == (0, vocabulary):
            return _logits(model, states[None])[0]
        assert isinstance(last, Holder)
        with window(last, start, stop):
            return _logits(model, states[None])[0]

    step = last._held.step if last is not None else 0
    if step and vocabulary > 1:
        middle = step if step < vocabulary else vocabulary // 2
        try:
            halves = [columns(states, 0, middle), columns(states, middle, vocabulary)]
            step = step if _equal(mx.concatenate(halves, axis=1), plain) else 0
        except (ForgeError, OSError, MemoryError):
            raise
        except Exception:  # what follows the last layer needs all of the vocabulary
            step = 0
    return Head(columns, vocabulary, step)


class _Enough(Exception):
    """The states are known, and the head need not run."""


class _Body:
    """In the body's place: runs it and notes its states, and lends all else of the body."""

    def __init__(self, body: Any, stop: bool = False) -> None:
        self._body = body
        self._stop = stop
        self.states: mx.array | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = self._body(*args, **kwargs)
        if isinstance(found, mx.array) and found.ndim == 3:
            self.states = found
        if self._stop:
            raise _Enough
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


@contextmanager
def _in_place_of_body(model: nn.Module, body: Any) -> Iterator[None]:
    before = getattr(model, "model", None)
    if not isinstance(before, nn.Module):
        yield
        return
    try:
        model.model = body
        yield
    finally:
        model.model = before


def _states(model: nn.Module, tokens: mx.array) -> mx.array:
    body = _Body(model.model, stop=True)
    try:
        with _in_place_of_body(model, body):
            model(tokens)
    except _Enough:
        pass
    assert body.states is not None
    return body.states


class _Given(_Body):
    """In the body's place: returns the states it was given."""

    def __init__(self, body: Any, states: mx.array) -> None:
        super().__init__(body)
        self.states = states

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.states


def _logits(model: nn.Module, states: mx.array) -> mx.array:
    tokens = mx.zeros(states.shape[:2], dtype=mx.int32)
    with _in_place_of_body(model, _Given(model.model, states)):
        logits: mx.array = model(tokens)
    return logits


def _equal(one: mx.array, other: mx.array) -> bool:
    return bool(mx.allclose(one, other, rtol=1e-4, atol=1e-4))
