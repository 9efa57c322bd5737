"""Codes of a head by all that a text says of what comes into it, a few rows at a time.

The last states of the source are what comes in, whatever is done to the layers before: so a head,
and embeddings that are one as well, can be quantized first, or on their own.
"""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.importances import AS_INPUT
from mlxforge.models.scoring.leaves.swapped import rows_of_weight
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.factor import Factor, prepare
from mlxforge.quantize.gptq import quantize, rows_at_once
from mlxforge.quantize.scheme import Scheme
from mlxforge.recipe.methods import Gptq as Settings

__all__ = ["head_codes"]


def head_codes(
    module: nn.Module,
    moments: np.ndarray,
    scheme: Scheme,
    dtype: mx.Dtype,
    settings: Settings,
    *,
    embeddings: bool,
) -> Affine:
    """The weight of ``module``, cast to ``dtype``, in the affine ``scheme``; evaluated.

    ``moments`` is the mean of x x^T over the inputs x of the head, [columns, columns].
    ``embeddings``: the weight turns tokens into states as well, where all columns matter alike.
    """
    if embeddings:
        moments = moments / float(np.diagonal(moments).mean(dtype=np.float64))
        moments[np.diag_indices(len(moments))] += AS_INPUT
    factor = prepare(moments, damping=settings.damping, act_order=settings.act_order)
    step, rows = rows_at_once(len(moments)), module._matrix.rows
    jobs = (
        partial(
            _quantized, module, start, min(start + step, rows), factor, scheme, dtype,
            settings.block_size,
        )
        for start in range(0, rows, step)
    )  # fmt: skip
    return joined([*in_order(jobs, workers())])


def _quantized(
    module: nn.Module,
    start: int,
    stop: int,
    factor: Factor,
    scheme: Scheme,
    dtype: mx.Dtype,
    block_size: int,
) -> Affine:
    rows = rows_of_weight(module, start, stop).astype(dtype).astype(mx.float32)
    return quantize(rows, factor, scheme.bits, scheme.group_size, dtype, block_size=block_size)
