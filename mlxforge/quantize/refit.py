"""Scales and biases for codes that are fixed: least squares in the metric of a Hessian.

With errors E = W - W^ of a weight, tr E H E^T is quadratic in all scales and biases of a row. It is
lowered group by group (block coordinate descent, Gauss-Seidel): the two of a group are solved for
exactly while the rest stays, and the groups after it see what is left. Values are rounded to the
dtype that is stored before they are judged, and a group keeps what it had unless its row's error
falls; so rounding is made up for like everything else, and no row ever gets worse.
"""

from __future__ import annotations

import mlx.core as mx

from mlxforge.quantize.affine import Affine, decode

__all__ = ["refit"]


def refit(
    weight: mx.array, affine: Affine, hessian: mx.array, group_size: int, sweeps: int
) -> Affine:
    """``affine`` with scales and biases of less error, by ``sweeps`` over all groups; evaluated.

    weight: float32 [rows, columns]; hessian: float32 [columns, columns], positive definite.
    """
    if not sweeps:
        return affine
    dtype = affine.scales.dtype
    columns = weight.shape[1]
    groups = columns // group_size
    codes = affine.codes.astype(mx.float32)
    scales = [affine.scales[:, group] for group in range(groups)]
    biases = [affine.biases[:, group] for group in range(groups)]
    pull = (weight - decode(affine, group_size)) @ hessian  # minus half the error's gradient
    mx.eval(pull, codes)
    for _ in range(sweeps):
        for group in range(groups):
            part = slice(group * group_size, (group + 1) * group_size)
            scales[group], biases[group], change = _solve(
                codes[:, part], scales[group], biases[group], pull[:, part],
                hessian[part, part], dtype,
            )  # fmt: skip
            pull = pull - change @ hessian[part]
            mx.eval(pull, scales[group], biases[group])
    return Affine(affine.codes, mx.stack(scales, axis=1), mx.stack(biases, axis=1))


def _solve(
    codes: mx.array,
    scales: mx.array,
    biases: mx.array,
    pull: mx.array,
    hessian: mx.array,
    dtype: mx.Dtype,
) -> tuple[mx.array, mx.array, mx.array]:
    """The group's scales and biases [rows], and by how much its weights change [rows, size].

    A change d of a row lowers its error by 2 d . pull - d H d^T, where d = s code + b.
    """
    across = codes @ hessian
    ss = (across * codes).sum(axis=1)
    sb = across.sum(axis=1)
    bb = hessian.sum()
    s, b = (codes * pull).sum(axis=1), pull.sum(axis=1)
    old_scale, old_bias = scales.astype(mx.float32), biases.astype(mx.float32)
    determinant = ss * bb - sb * sb
    solvable = determinant > 1e-6 * ss * bb  # else all codes are the same
    new = (s * bb - b * sb) / mx.where(solvable, determinant, 1)
    new_scales = mx.where(solvable, old_scale + new, old_scale).astype(dtype)
    moved = new_scales.astype(mx.float32) - old_scale
    new_biases = (old_bias + (b - sb * moved) / bb).astype(dtype)
    shifted = new_biases.astype(mx.float32) - old_bias
    gain = 2 * (moved * s + shifted * b)
    gain = gain - (moved * moved * ss + 2 * moved * shifted * sb + shifted * shifted * bb)
    better = gain > 0
    change = mx.where(better[:, None], moved[:, None] * codes + shifted[:, None], 0)
    return mx.where(better, new_scales, scales), mx.where(better, new_biases, biases), change
