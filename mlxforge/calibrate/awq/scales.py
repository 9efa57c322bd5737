"""The scales of one pair: the exponents for which all of its readers together lose least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.awq.scalers import Scalers, columns_of
from mlxforge.calibrate.awq.valley import Place, lowest
from mlxforge.models.layers.pairs import OTHER, Pair
from mlxforge.models.scoring.leaves.fixed import expert_count, weight_of
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.awq import Rounding, channel_scales, scaled_error
from mlxforge.quantize.importance import Importance
from mlxforge.recipe.methods import FEWEST_TOKENS

__all__ = ["Choice", "Chooser"]

ROWS_TRIED = 128  # of a weight, for each pair of exponents
EXPERTS_TRIED = 8  # of those that share their scales


Exponents = tuple[float, float]
"""Of the inputs, and of the weights that meet them."""
NONE: Exponents = (0.0, 0.0)


@dataclass(frozen=True)
class Choice:
    """``scales`` float32 [channels], or [experts, channels]; ``exponents``: one entry, or one for
    each expert."""

    scales: np.ndarray
    exponents: list[Exponents]

    @property
    def moves(self) -> bool:
        return any(entry != NONE for entry in self.exponents)


@dataclass(frozen=True)
class _Reader:
    """Of a layer, or of one expert of it: some ``rows``, float32 [rows, columns] each, of ``count``
    in all; the mean squares of all of its ``weights``, and of what they meet (``squares``),
    [columns]."""

    path: str
    rows: list[mx.array]
    count: int
    weights: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class Chooser:
    """``roundings``: of the layers that are quantized, by path; ``grid``: the exponents."""

    modules: Mapping[str, nn.Module]
    roundings: Mapping[str, Rounding]
    scalers: Scalers
    grid: Sequence[float]

    def choose(self, pair: Pair, reader: str, inputs: Importance) -> Choice:
        """The scales of ``pair``, one of whose readers is given ``inputs``; 1 where too few tokens
        came by."""
        squares = _by_channel(pair, reader, inputs, self.scalers.channels(pair))
        tokens = np.atleast_1d(inputs.tokens if pair.experts else inputs.tokens.sum())
        found = [
            self._best(pair, number, mine) if count >= FEWEST_TOKENS else (NONE, np.ones_like(mine))
            for number, (mine, count) in enumerate(zip(squares, tokens, strict=True))
        ]
        scales = np.stack([mine for _, mine in found])
        return Choice(scales if pair.experts else scales[0], [exponents for exponents, _ in found])

    def weight(self, path: str, expert: int | None) -> mx.array:
        """Float32 [rows, columns], as a cast leaves it; lazy."""
        weight = weight_of(self.modules[path], expert)
        return weight.astype(self.roundings[path].dtype).astype(mx.float32)

    def _best(self, pair: Pair, expert: int, squares: np.ndarray) -> tuple[Exponents, np.ndarray]:
        """The exponents of least error, and the scales [channels] that they give."""
        readers = [
            _Reader(
                path,
                *self._weights(path, expert if pair.experts else None),
                columns_of(pair, path, squares, squares.mean()),
            )
            for path in pair.readers
            if path in self.roundings
        ]
        weights = _weights_by_channel(pair, readers, len(squares))
        samples = [(reader, rows) for reader in readers for rows in reader.rows]
        counts = np.array([reader.count / len(reader.rows) / len(rows) for reader, rows in samples])

        def scales_at(place: Place) -> np.ndarray:
            return self._scales(pair, squares, weights, self._exponents(place))

        def errors(places: Sequence[Place]) -> Sequence[float]:
            jobs = [
                partial(
                    scaled_error, rows, reader.squares,
                    columns_of(pair, reader.path, scales), self.roundings[reader.path],
                )
                for scales in map(scales_at, places)
                for reader, rows in samples
            ]  # fmt: skip
            found = np.array(list(in_order(jobs, workers()))).reshape(len(places), len(samples))
            return [float(error) for error in found @ counts]

        best = lowest(errors, len(self.grid))
        return self._exponents(best), scales_at(best)

    def _exponents(self, place: Place) -> Exponents:
        return self.grid[place[0]], self.grid[place[1]]

    def _scales(
        self, pair: Pair, squares: np.ndarray, weights: np.ndarray, exponents: Exponents
    ) -> np.ndarray:
        """As they are once the scaler is stored; channels that nobody reads keep their own."""
        reached = squares > 0
        scales = np.ones_like(squares)
        if exponents != NONE and reached.any():
            scales[reached] = channel_scales(squares[reached], weights[reached], exponents)
        return self.scalers.left_of(pair, scales)

    def _weights(self, path: str, expert: int | None) -> tuple[list[mx.array], int, np.ndarray]:
        """Rows of a layer, as far apart as they can be, of some of the experts that share their
        scales; how many there are in all; and the mean squares of all of its weights, by column."""
        count = expert_count(self.modules[path])
        numbers: Sequence[int | None] = range(count) if expert is None and count else [expert]
        tried = numbers[:: -(-len(numbers) // EXPERTS_TRIED)]
        found, rows, total = [], 0, np.zeros(self.modules[path]._matrix.columns)
        for number in numbers:
            weight = self.weight(path, number)
            squares = mx.square(weight).mean(axis=0)
            mx.eval(weight, squares)
            total += np.asarray(squares)
            rows += len(weight)
            if number in tried:
                step = -(-len(weight) * len(tried) // ROWS_TRIED)
                found.append(mx.contiguous(weight[::step]))
                mx.eval(found[-1])
        return found, rows, total / len(numbers)


def _by_channel(pair: Pair, reader: str, inputs: Importance, size: int) -> np.ndarray:
    """Mean squares, float32 [1, size] or [experts, size]: of a channel, over all columns that
    read it; 0 where none does."""
    columns = np.atleast_2d(inputs.columns)
    if len(columns) > 1 and not pair.experts:
        shares = inputs.tokens / max(int(inputs.tokens.sum()), 1)
        columns = (columns * shares[:, None]).sum(axis=0, keepdims=True)
    channels = pair.channels(reader)
    mine = channels != OTHER
    counts = np.maximum(np.bincount(channels[mine], minlength=size), 1)
    found = [
        np.bincount(channels[mine], weights=row[mine], minlength=size) / counts for row in columns
    ]
    return np.stack(found).astype(np.float32)


def _weights_by_channel(pair: Pair, readers: Sequence[_Reader], size: int) -> np.ndarray:
    """Mean squares of the weights that meet each channel, float32 [size]; 0 where none does."""
    total, counts = np.zeros((2, size))
    for reader in readers:
        channels = pair.channels(reader.path)
        mine = channels != OTHER
        total += np.bincount(channels[mine], weights=reader.weights[mine], minlength=size)
        counts += np.bincount(channels[mine], minlength=size)
    return (total / np.maximum(counts, 1)).astype(np.float32)
