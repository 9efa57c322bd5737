"""Modules that do something else for a while, in a model whose code stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import mlx.nn as nn

__all__ = ["called_as", "exchanged"]


@contextmanager
def exchanged(module: nn.Module, methods: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """``module`` with other ``methods`` for whoever calls them, and all else of it as it is.

    Its class is exchanged for one that inherits it: Python looks up ``__call__`` and its like in
    the class, and the model may hold the module in many places.
    """
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), dict(methods))
    try:
        yield
    finally:
        module.__class__ = kind


def called_as(module: nn.Module, call: Callable[..., Any]) -> AbstractContextManager[None]:
    """``module`` with another ``__call__``."""
    return exchanged(module, {"__call__": call})
