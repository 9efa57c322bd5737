"""What holds weights to the source's, against the plain sum over all of them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.distill.anchor import Anchor, Anchors
from mlxforge.quantize.affine import decode
from mlxforge.quantize.search import search
from mlxforge.quantize.trainable import trainable


def test_the_loss_is_the_weighted_square_error_relative_to_the_starts() -> None:
    mx.random.seed(4)
    weight, importance = mx.random.normal((10, 128)), mx.random.uniform(shape=(128,)) ** 2
    start = search(weight, 3, 64, mx.bfloat16)
    layer = trainable(start)
    anchor = Anchor(layer, weight, importance)

    def plain(slope: mx.array, middle: mx.array) -> float:
        off = np.array(weight - decode(layer.result(slope, middle), 64), dtype=np.float64)
        return float((np.array(importance, dtype=np.float64) * off**2).sum())

    slope, middle = (0.1 * mx.random.normal(zeros.shape) for zeros in layer.start())
    expected = plain(slope, middle) / plain(*layer.start())
    assert float(anchor.loss(*layer.start())) == pytest.approx(1)
    assert float(anchor.loss(slope, middle)) == pytest.approx(expected, rel=1e-4)
    names = {"a": anchor, "b": Anchor(layer, weight, None)}
    zeros = dict(zip(("slope", "middle"), layer.start(), strict=True))
    parameters = {f"{name}/{part}": zeros[part] for name in names for part in zeros}
    assert float(Anchors(names).loss(parameters)) == pytest.approx(1)


def test_a_weight_without_an_error_is_held_by_nothing() -> None:
    start = search(mx.ones((4, 64)), 4, 32, mx.float32)
    layer = trainable(start)
    anchor = Anchor(layer, decode(start, 32), None)
    assert float(anchor.loss(*layer.start())) == 1
