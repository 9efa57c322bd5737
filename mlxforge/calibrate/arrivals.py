"""What comes into one layer of the block in hand, wave by wave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.calibrate.observe import Enough, Given, observed
from mlxforge.calibrate.passage import Passage
from mlxforge.calibrate.residual import Residual, first_array
from mlxforge.models.exchanged import called_as

__all__ = ["Arrive", "arrivals"]

Arrive = Callable[[int], Given | None]
"""Of a wave, evaluated; None if it does not come to the layer. Several threads may ask."""


@contextmanager
def arrivals(passage: Passage, path: str, residual: Residual | None = None) -> Iterator[Arrive]:
    """Of the layer at ``path``, and of what its output is added to if there is a ``residual``. What
    is behind that is not run."""
    own = threading.local()

    def ends(_: str, x: mx.array, chosen: mx.array | None) -> None:
        own.given = Given(x, chosen)
        raise Enough

    def adds_nothing(layer: nn.Module, x: mx.array) -> mx.array:
        own.given = Given(x)
        passage.outputs.go_beyond()
        return mx.zeros((*x.shape[:-1], layer._matrix.rows), x.dtype)

    with ExitStack() as stack:
        if residual is None:
            stack.enter_context(observed(passage.root, [path], ends))
        else:
            stack.enter_context(called_as(passage.modules[path], adds_nothing))
        if residual is not None and residual.path is not None:
            place = passage.within[residual.path]
            kind = type(place)

            def stops(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
                if own.given is None:  # a use before the layer's
                    return kind.__call__(module, *args, **kwargs)
                own.given = own.given._replace(residual=args[0] / residual.share)
                raise Enough

            stack.enter_context(called_as(place, stops))
        run = stack.enter_context(passage.opened())

        def arrive(wave: int) -> Given | None:
            own.given = None
            with suppress(Enough):
                after = run(wave)
                if residual is not None and residual.path is None and own.given is not None:
                    own.given = own.given._replace(residual=first_array(after) / residual.share)
            given: Given | None = vars(own).pop("given")
            mx.eval(given)
            return given

        yield arrive
