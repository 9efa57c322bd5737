"""The scales of one pair, between readers that would each have others."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.awq.scalers import Scalers
from mlxforge.calibrate.awq.scales import Chooser
from mlxforge.models.layers.pairs import WEIGHT, Pair, ranges_of
from mlxforge.quantize.awq import Rounding, exponents, scaled_error
from mlxforge.quantize.importance import Importance

CHANNELS = 128
ROUNDING = Rounding(4, 32, mx.bfloat16, clip=False)


@dataclass
class Matrix:
    """A weight in memory, as a layer of a model that is scored has it."""

    weight: mx.array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def columns(self) -> int:
        return self.shape[1]

    def decode(self, start: int, stop: int) -> mx.array:
        return self.weight[start:stop]


def chosen(weights: dict[str, mx.array], squares: np.ndarray) -> np.ndarray:
    """The scales of a pair whose readers have these weights."""
    modules: Any = {path: SimpleNamespace(_matrix=Matrix(w)) for path, w in weights.items()}
    scalers = SimpleNamespace(channels=lambda pair: CHANNELS, left_of=lambda pair, scales: scales)
    pair = Pair("norm", WEIGHT, 0, {path: ranges_of(np.arange(CHANNELS)) for path in weights})
    roundings = dict.fromkeys(weights, ROUNDING)
    chooser = Chooser(modules, roundings, cast(Scalers, scalers), exponents(20))
    return chooser.choose(pair, next(iter(weights)), Importance(squares, np.array(1000))).scales


@pytest.mark.parametrize("seed", range(3))
def test_each_reader_counts_by_all_of_its_rows(seed: int) -> None:
    """As those of few key heads do beside many queries'."""
    random = np.random.default_rng(seed)
    squares = np.exp(random.normal(size=CHANNELS) * 1.5).astype(np.float32)
    many = mx.array((random.normal(size=(4096, CHANNELS)) * 0.05).astype(np.float32))
    heights = np.sqrt(squares) ** -0.9
    few = mx.array((random.normal(size=(256, CHANNELS)) * 0.25 * heights).astype(np.float32))

    def error(scales: np.ndarray) -> float:
        return sum(scaled_error(weight, squares, scales, ROUNDING) for weight in (many, few))

    both = error(chosen({"many": many, "few": few}, squares))
    assert both < 0.99 * error(chosen({"few": few}, squares))
    assert both <= 1.01 * error(chosen({"many": many}, squares))
