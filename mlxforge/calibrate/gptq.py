"""GPTQ for a whole model: which grid a layer gets, and what its Hessian is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.hessians import Hessian
from mlxforge.calibrate.statistics import AS_INPUT
from mlxforge.models.layers.assign import Assignment
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.gptq import Factor, prepare, quantize
from mlxforge.quantize.importance import FEWEST_TOKENS
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import Gptq as Settings

__all__ = ["Solver"]

ROWS = 1024  # of a weight, for one thread at a time


class Solver:
    """``paths`` are the layers that it can solve: those with an affine scheme. ``unknown`` are
    the experts, by path, that saw too few tokens and were rounded instead; ``tied``: the
    embeddings whose weight a head of its own path has, by the head's."""

    def __init__(
        self, assignments: Iterable[Assignment], cast: str | None, settings: Settings
    ) -> None:
        self._settings = settings
        entries = [entry for entry in assignments if entry.scheme and entry.scheme.mode == "affine"]
        self.paths = [entry.layer.path for entry in entries]
        self.schemes: dict[str, Scheme] = {
            entry.layer.path: entry.scheme for entry in entries if entry.scheme
        }
        self.unknown: dict[str, list[int]] = {}
        self._dtypes = {
            entry.layer.path: getattr(mx, entry.layer.weight.dtype_after(cast)) for entry in entries
        }
        self.tied = {e.layer.path: e.layer.tied for e in entries if e.layer.tied}
        self._both = {e.layer.path for e in entries if e.layer.role == "embeddings"} | {*self.tied}
        self._last: tuple[Hessian, bool, Factor] | None = None

    def solve(self, path: str, expert: int | None, weight: mx.array, hessian: Hessian) -> Affine:
        """The codes of a layer's weight, float32 [rows, columns], or of one expert's."""
        scheme, dtype = self.schemes[path], self._dtypes[path]
        weight = weight.astype(dtype).astype(mx.float32)  # what a cast leaves of it
        if expert is not None and hessian.tokens < FEWEST_TOKENS:
            self.unknown.setdefault(path, []).append(expert)
            return search(weight, scheme.bits, scheme.group_size, dtype)
        factor = self._factor(path, hessian)
        mx.eval(weight)
        jobs = [
            partial(_quantized, weight, start, factor, scheme, dtype, self._settings.block_size)
            for start in range(0, len(weight), ROWS)
        ]
        found = list(in_order(jobs, workers()))
        if len(found) == 1:
            return found[0]
        return Affine(
            mx.concatenate([part.codes for part in found]),
            mx.concatenate([part.scales for part in found]),
            mx.concatenate([part.biases for part in found]),
        )

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


def _quantized(
    weight: mx.array, start: int, factor: Factor, scheme: Scheme, dtype: mx.Dtype, block_size: int
) -> Affine:
    rows, bits, group_size = weight[start : start + ROWS], scheme.bits, scheme.group_size
    found = quantize(rows, factor, bits, group_size, dtype, block_size=block_size)
    mx.eval(found.codes, found.scales, found.biases)  # by the thread that they belong to
    return found
