"""The loop of GPTQ: one column after the other, on the errors of those before it.

Everything lies on its side, [columns, rows], in the order in which columns are visited: a column
of the weight is a row in memory. Columns are taken in blocks: within one, each tells the rest of
the block of its errors; those after the block hear of all of its errors in one matrix product.
The same steps in numpy for a CPU, where MLX spends its time between them, and in MLX for a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

__all__ = ["UNIT", "Columns", "codes_on_cpu", "codes_on_gpu"]

NEAR = 8  # columns that are told one by one; the rest of a block by products as well
UNIT = 256  # rows in a product, always: how a BLAS rounds depends on how many there are

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Columns:
    """weight: float32 [columns, rows], on a CPU a multiple of ``UNIT`` rows. scales, biases:
    float32 [groups, rows]. groups: the group of each column, [columns]. feedback: float32
    [columns, columns], see Factor. top: the greatest code."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    groups: npt.NDArray[np.intp]
    feedback: mx.array
    top: int


def codes_on_cpu(columns: Columns, block_size: int) -> mx.array:
    """uint8 codes [columns, rows]."""
    weight, feedback = np.asarray(columns.weight), np.asarray(columns.feedback)
    scales, biases = np.asarray(columns.scales), np.asarray(columns.biases)
    steps = np.where(scales == 0, np.float32(1), scales)
    wanted = weight.copy()
    codes = np.empty(weight.shape, np.uint8)
    errors = np.empty((block_size, weight.shape[1]), np.float32)
    value = np.empty(weight.shape[1], np.float32)
    size = len(weight)
    for start in range(0, size, block_size):
        stop = min(start + block_size, size)
        for near in range(start, stop, NEAR):
            beyond = min(near + NEAR, stop)
            for at in range(near, beyond):
                scale, bias = scales[columns.groups[at]], biases[columns.groups[at]]
                np.subtract(wanted[at], bias, out=value)
                value /= steps[columns.groups[at]]
                np.rint(value, out=value)
                np.clip(value, 0, columns.top, out=value)
                with np.errstate(invalid="ignore"):  # of rows that are no numbers
                    codes[at] = value
                value *= scale
                value += bias
                error = np.subtract(weight[at], value, out=errors[at - start])
                if at + 1 < beyond:
                    wanted[at + 1 : beyond] += feedback[at, at + 1 : beyond, None] * error
            if beyond < stop:
                told = errors[near - start : beyond - start]
                _tell(wanted[beyond:stop], feedback[near:beyond, beyond:stop], told)
        if stop < size:
            _tell(wanted[stop:], feedback[start:stop, stop:], errors[: stop - start])
    return mx.array(codes)


def _tell(wanted: Floats, feedback: Floats, errors: Floats) -> None:
    for start in range(0, wanted.shape[1], UNIT):
        part = slice(start, start + UNIT)
        wanted[:, part] += feedback.T @ errors[:, part]


def codes_on_gpu(columns: Columns, block_size: int) -> mx.array:
    """uint8 codes [columns, rows]; evaluated."""
    wanted, found = columns.weight, []
    groups = mx.array(columns.groups.astype(np.int32))
    scales, biases = columns.scales[groups], columns.biases[groups]
    steps = mx.where(scales == 0, 1, scales)
    size = len(wanted)
    for start in range(0, size, block_size):
        stop = min(start + block_size, size)
        near, errors = wanted[: stop - start], []
        for at in range(start, stop):
            code = mx.clip(mx.round((near[0] - biases[at]) / steps[at]), 0, columns.top)
            error = columns.weight[at] - (scales[at] * code + biases[at])
            found.append(code.astype(mx.uint8))
            errors.append(error)
            near = near[1:] + columns.feedback[at, at + 1 : stop, None] * error
        if stop < size:
            told = columns.feedback[start:stop, stop:].T @ mx.stack(errors)
            wanted = wanted[stop - start :] + told
        mx.eval(wanted, found[start:])
    return mx.stack(found)
