"""GPTQ for a whole model: which grid a layer gets, and what its Hessian is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.hessians import Hessian
from mlxforge.calibrate.statistics import AS_INPUT
from mlxforge.models.layers.assign import Assignment, affine_schemes
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.drift import compensated
from mlxforge.quantize.gptq import Factor, prepare, quantize
from mlxforge.quantize.importance import FEWEST_TOKENS
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import Gptq as Settings

__all__ = ["Solver"]

ROWS = 256  # of a weight, for one thread at a time


class Solver:
    """``paths`` are the layers that it can solve: those with an affine scheme. ``unknown`` are
    the experts, by path, that saw too few tokens and were rounded instead; ``tied``: the
    embeddings whose weight a head of its own path has, by the head's."""

    def __init__(
        self, assignments: Sequence[Assignment], cast: str | None, settings: Settings
    ) -> None:
        self._settings = settings
        self.schemes = affine_schemes(assignments)
        self.paths = [*self.schemes]
        entries = [entry for entry in assignments if entry.layer.path in self.schemes]
        self.unknown: dict[str, list[int]] = {}
        self._dtypes = {
            entry.layer.path: getattr(mx, entry.layer.weight.dtype_after(cast)) for entry in entries
        }
        self.tied = {e.layer.path: e.layer.tied for e in entries if e.layer.tied}
        self._both = {e.layer.path for e in entries if e.layer.role == "embeddings"} | {*self.tied}
        self._last: tuple[Hessian, bool, Factor] | None = None

    def solve(
        self, weights: Mapping[str, mx.array], expert: int | None, hessian: Hessian
    ) -> dict[str, Affine]:
        """The codes of each layer's weight, float32 [rows, columns], or of one expert's."""
        if expert is not None and hessian.tokens < FEWEST_TOKENS:
            for path in weights:
                self.unknown.setdefault(path, []).append(expert)
            searches = [partial(_searched, weight, *self._grid(p)) for p, weight in weights.items()]
            return dict(zip(weights, in_order(searches, workers()), strict=True))
        factors = {path: self._factor(path, hessian) for path in weights}
        casts = [
            partial(
                _meant, weight, self._dtypes[path], factors[path],
                None if path in self._both else hessian.drift,
            )
            for path, weight in weights.items()
        ]  # fmt: skip
        jobs: list[Callable[[], Affine]] = []
        parts: dict[str, int] = {}
        block_size = self._settings.block_size
        for path, weight in zip(weights, in_order(casts, workers()), strict=True):
            starts = range(0, len(weight), ROWS)
            grid = self._grid(path)
            jobs += [
                partial(_quantized, weight, start, factors[path], *grid, block_size)
                for start in starts
            ]
            parts[path] = len(starts)
        found = in_order(jobs, workers())
        return {path: joined([*islice(found, count)]) for path, count in parts.items()}

    def _grid(self, path: str) -> tuple[Scheme, mx.Dtype]:
        return self.schemes[path], self._dtypes[path]

    def _factor(self, path: str, hessian: Hessian) -> Factor:
        """Layers of a stage have one Hessian, which is factorised once."""
        both = path in self._both
        if self._last is None or self._last[0] is not hessian or self._last[1] != both:
            matrix = hessian.matrix
            if both:  # a head, and what turns tokens into states, where all columns matter alike
                mean = float(np.diagonal(matrix).mean(dtype=np.float64))
                matrix = matrix / mean + AS_INPUT * np.eye(len(matrix), dtype=matrix.dtype)
            wanted = self._settings
            factor = prepare(matrix, damping=wanted.damping, act_order=wanted.act_order)
            self._last = (hessian, both, factor)
        return self._last[2]


def _meant(weight: mx.array, dtype: mx.Dtype, factor: Factor, drift: np.ndarray | None) -> mx.array:
    """What a cast leaves of a weight, and what makes up for inputs that have changed; evaluated."""
    weight = weight.astype(dtype).astype(mx.float32)
    mx.eval(weight)
    return weight if drift is None else compensated(weight, factor, drift)


def _quantized(
    weight: mx.array, start: int, factor: Factor, scheme: Scheme, dtype: mx.Dtype, block_size: int
) -> Affine:
    rows = weight[start : start + ROWS]
    return quantize(rows, factor, scheme.bits, scheme.group_size, dtype, block_size=block_size)


def _searched(weight: mx.array, scheme: Scheme, dtype: mx.Dtype) -> Affine:
    weight = weight.astype(dtype).astype(mx.float32)
    found = search(weight, scheme.bits, scheme.group_size, dtype)
    mx.eval(found.codes, found.scales, found.biases)  # by the thread that they belong to
    return found
