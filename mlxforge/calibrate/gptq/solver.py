"""GPTQ for a whole model: which grid a layer gets, and what its Hessian is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.drifts import Drift
from mlxforge.calibrate.gptq.heads import head_codes
from mlxforge.calibrate.hessians import Hessian
from mlxforge.models.layers.assign import Assignment, affine_schemes
from mlxforge.models.scoring.leaves.swapped import rows_of_weight
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.drift import compensated
from mlxforge.quantize.factor import Factor, prepare
from mlxforge.quantize.gptq import quantize, rows_at_once
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import FEWEST_TOKENS
from mlxforge.recipe.methods import Gptq as Settings

__all__ = ["Solver"]

Rounded = Callable[[mx.array, slice], Affine]
"""A weight, and which of its rows are wanted."""


class Solver:
    """``paths`` are the layers that it can solve: those with an affine scheme. ``unknown`` are
    the experts, by path, that saw too few tokens and were rounded instead; ``tied``: the
    embeddings whose weight a head of its own path has, by the head's; ``embeddings``: all of them,
    which are to be solved before anything else; ``dtypes``: of scales and biases, by path, to which
    weights are cast before. ``scaled``: layers that have been cast already, before their weights
    were scaled."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        cast: str | None,
        settings: Settings,
        scaled: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self.schemes = affine_schemes(assignments)
        self.paths = [*self.schemes]
        entries = [entry for entry in assignments if entry.layer.path in self.schemes]
        self.unknown: dict[str, list[int]] = {}
        self.dtypes = {
            entry.layer.path: getattr(mx, entry.layer.weight.dtype_after(cast)) for entry in entries
        }
        self._casts = self.dtypes | dict.fromkeys(scaled, mx.float32)
        self.tied = {e.layer.path: e.layer.tied for e in entries if e.layer.tied}
        self.embeddings = [e.layer.path for e in entries if e.layer.role == "embeddings"]

    def solve_embeddings(self, path: str, module: nn.Module, head: np.ndarray | None) -> Affine:
        """Of ``module``. ``head``: the mean of x x^T over what comes into a head that has their
        weight too."""
        if head is not None:
            return self.solve_head(path, module, head)
        rows, step = module._matrix.rows, rows_at_once(module._matrix.columns)
        searching = partial(_searched_rows, module, *self._grid(path))
        jobs = (partial(searching, at, min(at + step, rows)) for at in range(0, rows, step))
        return joined([*in_order(jobs, workers())])

    def solve_head(self, path: str, module: nn.Module, moments: np.ndarray) -> Affine:
        """``moments``: the mean of x x^T over what comes into the head at ``path``, or into one
        that has the weight of these embeddings."""
        return head_codes(
            module, moments, self.schemes[path], self.dtypes[path], self._settings,
            embeddings=path in self.embeddings,
        )  # fmt: skip

    def solve(
        self, weights: Mapping[str, mx.array], expert: int | None, hessian: Hessian
    ) -> dict[str, Affine]:
        """The codes of each layer's weight, float32 [rows, columns], or of one expert's. The
        ``hessian`` is spent."""
        if expert is not None and hessian.tokens < FEWEST_TOKENS:
            for path in weights:
                self.unknown.setdefault(path, []).append(expert)
            return self._searched(weights)
        wanted = self._settings
        matrix, room = hessian.spent()
        factor = prepare(matrix, damping=wanted.damping, act_order=wanted.act_order, room=room)
        if hessian.drift is not None:
            _ = factor.inverse  # once, for all threads
        solving = partial(_solved, factor, hessian.drift, wanted.block_size)
        return self._joined(weights, lambda path: partial(solving, path, *self._grid(path)))

    def cast(self, path: str, weight: mx.array) -> mx.array:
        """A layer's weight, float32, as a cast leaves it, evaluated."""
        found = weight.astype(self._casts[path])
        mx.eval(found)
        return found

    def _searched(self, weights: Mapping[str, mx.array]) -> dict[str, Affine]:
        return self._joined(weights, lambda path: partial(_searched, *self._grid(path)))

    def _joined(
        self, weights: Mapping[str, mx.array], round_rows: Callable[[str], Rounded]
    ) -> dict[str, Affine]:
        """What becomes of each weight, some rows at a time, on all cores."""
        mx.eval(list(weights.values()))
        pieces = {path: [*_pieces(weight)] for path, weight in weights.items()}
        found = in_order(
            (
                partial(round_rows(path), weights[path], piece)
                for path, mine in pieces.items()
                for piece in mine
            ),
            workers(),
        )
        return {path: joined([*islice(found, len(mine))]) for path, mine in pieces.items()}

    def _grid(self, path: str) -> tuple[Scheme, mx.Dtype, mx.Dtype]:
        """What is to be made of it, to what its weight is cast before."""
        return self.schemes[path], self.dtypes[path], self._casts[path]


def _pieces(weight: mx.array) -> Iterator[slice]:
    step = rows_at_once(weight.shape[1])
    for start in range(0, len(weight), step):
        yield slice(start, start + step)


def _solved(
    factor: Factor,
    drift: Drift | None,
    block_size: int,
    path: str,
    scheme: Scheme,
    dtype: mx.Dtype,
    cast: mx.Dtype,
    weight: mx.array,
    piece: slice,
) -> Affine:
    """``drift``: what is to be made up for, if anything is."""
    rows = _cast(weight[piece], cast)
    if drift is not None:
        rows = compensated(rows, factor, drift.times(path, rows, piece))
    return quantize(rows, factor, scheme.bits, scheme.group_size, dtype, block_size=block_size)


def _searched(
    scheme: Scheme, dtype: mx.Dtype, cast: mx.Dtype, weight: mx.array, piece: slice
) -> Affine:
    found = search(_cast(weight[piece], cast), scheme.bits, scheme.group_size, dtype)
    mx.eval(found.codes, found.scales, found.biases)  # by the thread that they belong to
    return found


def _searched_rows(
    module: nn.Module, scheme: Scheme, dtype: mx.Dtype, cast: mx.Dtype, start: int, stop: int
) -> Affine:
    rows = rows_of_weight(module, start, stop)
    return _searched(scheme, dtype, cast, rows, slice(None))


def _cast(rows: mx.array, dtype: mx.Dtype) -> mx.array:
    """What a cast leaves, in float32, evaluated."""
    found = rows.astype(dtype).astype(mx.float32)
    mx.eval(found)
    return found
