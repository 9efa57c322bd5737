"""What keeps training from learning a text by heart: each weight's own error, column by column.

Outputs over a few windows can be mended by scales and biases that play columns off against each
other as those windows do and other texts do not. So the error that a weight has where nothing is
known but how large each column's inputs are, counts as well:

    sum_j h_j (w_j - w^_j)^2,    h_j the mean square of the inputs of column j

the loss of a layer with all correlations of its inputs taken back, as GPTQ's Hessian has some of
them taken back. For given codes it is a parabola in each group's scale and bias; six sums per group
are all that is needed of the source's weight. An embedding that is the head too is kept good as
what turns tokens into states by the same term.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from mlxforge.calibrate.distill.descent import Parameters
from mlxforge.quantize.trainable import Trainable

__all__ = ["Anchor", "Anchors"]

STRENGTH = 1.0  # at the start, against a loss of 1 of the stage
ROWS = 4096  # of a weight, at a time


class Anchor:
    """Of one ``layer``, whose source's ``weight`` is float32 [rows, columns]; ``importance`` is
    float32 [columns] in any unit, None where all columns matter alike."""

    def __init__(self, layer: Trainable, weight: mx.array, importance: mx.array | None) -> None:
        self._layer = layer
        if importance is None:
            importance = mx.ones(weight.shape[1])
        parts = [_sums(layer, weight, importance, at) for at in range(0, len(weight), ROWS)]
        self._sums = [mx.concatenate(list(column)) for column in zip(*parts, strict=True)]
        mx.eval(self._sums)
        self._start = float(self._sums[0].sum())

    def loss(self, slope: mx.array, middle: mx.array) -> mx.array:
        """Relative to the start's; lazy, differentiable."""
        squares, products, errors, codes, counts, sizes = self._sums
        scales, biases = self._layer.stored(slope, middle)
        x = scales - self._layer.scales.astype(mx.float32)
        y = biases - self._layer.biases.astype(mx.float32)
        moved = x * x * codes + 2 * x * y * counts + y * y * sizes
        found: mx.array = (squares - 2 * x * products - 2 * y * errors + moved).sum()
        return found / self._start if self._start else mx.array(1.0)


class Anchors:
    """Of several weights, by the name of their parameters without ``/slope`` and ``/middle``: the
    mean of their losses, times ``STRENGTH``."""

    def __init__(self, anchors: Mapping[str, Anchor]) -> None:
        self._anchors = anchors

    def loss(self, parameters: Parameters) -> mx.array:
        """Lazy, differentiable."""
        terms = [
            anchor.loss(parameters[f"{name}/slope"], parameters[f"{name}/middle"])
            for name, anchor in self._anchors.items()
        ]
        return STRENGTH * sum(terms, mx.array(0.0)) / max(len(terms), 1)


def _sums(layer: Trainable, weight: mx.array, importance: mx.array, start: int) -> list[mx.array]:
    """With importance h, error r and codes q of a group: the sums of h r r, h r q, h r, h q q,
    h q and h."""
    rows = slice(start, start + ROWS)
    scales, biases = (
        part[rows].astype(mx.float32)[..., None] for part in (layer.scales, layer.biases)
    )
    shape = (*scales.shape[:2], -1)
    codes = layer.codes[rows].reshape(shape).astype(mx.float32)
    errors = weight[rows].reshape(shape) - (scales * codes + biases)
    heights = mx.broadcast_to(importance.reshape(1, *shape[1:]), codes.shape)
    terms = (errors * errors, errors * codes, errors, codes * codes, codes, mx.ones_like(codes))
    found = [(heights * term).sum(axis=-1) for term in terms]
    mx.eval(found)
    return found
