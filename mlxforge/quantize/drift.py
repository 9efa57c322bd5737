"""Weights that make up for what quantizing the layers before them has done to their inputs.

Quantized layers hand on x where the source hands on s, and what a layer's output is added to is r
where it is r_s in the source. Weights V of least error |V x + r - W s - r_s|^2 are

    V = W + D H^-1,  D the mean of (W (s - x) + r_s - r) x^T,  H the mean of x x^T

and those are rounded in the place of W. Without r it is the aim of GPTAQ (Li et al. 2025, arXiv
2504.02692), which follows it column by column; here it is solved for at once. All of it would fit
the calibration text more than any other: ``SHARE`` of the change is taken.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxforge.quantize.factor import Factor

__all__ = ["SHARE", "compensated"]

SHARE = 0.5


def compensated(rows: mx.array, factor: Factor, drift: npt.NDArray[np.float32]) -> mx.array:
    """V for some or all ``rows`` of W, float32 [rows, columns], evaluated. ``drift`` is D of
    these rows, in the measure in which the factor was prepared of H; both are believed alike."""
    own = np.asarray(rows)
    order = np.asarray(factor.order)
    change = drift[:, order]
    change *= np.float32(SHARE * factor.measure)
    factor.inverse.divide(change)
    meant = own.copy()
    meant[:, order] += change
    return mx.array(meant)
