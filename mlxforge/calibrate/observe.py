"""Watching what comes into a model's layers while the model's own code runs.

Nothing is known of the architecture: a layer's class is exchanged for one that first tells what it
was given, and does what it did. So fused projections, experts, hybrids and the language side of
vision models are watched alike, on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.exchanged import exchanged

__all__ = ["Enough", "Given", "Tell", "observed"]

Tell = Callable[[str, mx.array, mx.array | None], None]
"""Path of the layer, its inputs [..., columns], and for experts which of them [...] each row of
inputs goes to."""


class Given(NamedTuple):
    """What comes into a layer: ``x`` [..., columns]; for experts which of them [...] each row goes
    to; and where it is known, in the measure of the layer's output, what that is added to, [...,
    rows]."""

    x: mx.array
    chosen: mx.array | None = None
    residual: mx.array | None = None


class Enough(Exception):
    """For a Tell to raise: what is watched for is known, and nothing after it need run."""


@contextmanager
def observed(model: nn.Module, paths: Iterable[str], tell: Tell) -> Iterator[None]:
    """``tell`` is called with the inputs of the layers at ``paths``, before they are multiplied.

    Of embeddings only the use as a head counts: as what turns tokens into states they have no
    inputs.
    """
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for path in paths:
            module = modules[path]
            stack.enter_context(exchanged(module, _methods(type(module), path, tell)))
        yield


def _methods(kind: type[nn.Module], path: str, tell: Tell) -> Mapping[str, Callable[..., Any]]:
    if hasattr(kind, "as_linear"):

        def as_linear(self: nn.Module, x: mx.array) -> mx.array:
            tell(path, x, None)
            found: mx.array = kind.as_linear(self, x)
            return found

        return {"as_linear": as_linear}

    def call(self: nn.Module, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        chosen = args[0] if args else kwargs.get("indices")
        tell(path, x, chosen if isinstance(chosen, mx.array) else None)
        return kind.__call__(self, x, *args, **kwargs)

    return {"__call__": call}
