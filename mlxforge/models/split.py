"""A model cut before its head: states [tokens, hidden_size] instead of logits [tokens, vocabulary].

The logits of a text are its largest product by far (vocabulary / hidden_size is 20 to 100). Kept
as states, they can be stored whole and turned into exact logits again, a few tokens at a time.
The cut needs no knowledge of the architecture: its own ``__call__`` is run with the body
replaced by one that returns the given states, so that tied heads, scaling and soft caps apply.
Where that does not give the same logits, the states are the logits themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

__all__ = ["Split", "split_model"]


@dataclass(frozen=True)
class Split:
    """``states``: tokens [1, n] -> [n, width]; ``logits``: [n, width] -> [n, vocabulary].

    ``whole`` is True where the model could not be cut, and states are logits.
    """

    states: Callable[[mx.array], mx.array]
    logits: Callable[[mx.array], mx.array]
    whole: bool


class _Given:
    """In the body's place: returns the states it was given, and lends all else of the body."""

    def __init__(self, body: nn.Module, states: mx.array) -> None:
        self._body = body
        self._states = states

    def __call__(self, *args: Any, **kwargs: Any) -> mx.array:
        return self._states

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def split_model(model: nn.Module, probe: mx.array, whole: bool | None = None) -> Split:
    """Cut ``model`` before its head, if that can be done.

    ``probe`` is a short piece of real tokens, int32 [1, n], on which both ways are compared.
    ``whole`` says what an earlier call found, where the same cut is needed again.
    """
    if whole is None:
        whole = not _can_be_cut(model, probe)
    if whole:
        return Split(lambda tokens: model(tokens)[0], lambda states: states, True)
    return Split(
        lambda tokens: model.model(tokens)[0], lambda states: _head(model, states[None])[0], False
    )


def _head(model: nn.Module, states: mx.array) -> mx.array:
    body = model.model
    tokens = mx.zeros(states.shape[:2], dtype=mx.int32)
    try:
        model.model = _Given(body, states)
        logits: mx.array = model(tokens)
    finally:
        model.model = body
    return logits


def _can_be_cut(model: nn.Module, probe: mx.array) -> bool:
    if not isinstance(getattr(model, "model", None), nn.Module):
        return False
    try:
        states = model.model(probe)
        if not isinstance(states, mx.array) or states.ndim != 3:
            return False
        cut, plain = _head(model, states), model(probe)
        return cut.shape == plain.shape and bool(mx.allclose(cut, plain, rtol=1e-4, atol=1e-4))
    except Exception:  # an architecture that does not work this way, in whatever way
        return False
