"""AWQ: columns of a weight that meet large inputs are made larger before they are rounded.

Rounding adds about the same error to every weight of a group. Where the inputs of a column are
divided by s and the column is multiplied by s, the product stays as it was, and the column's share
of the error becomes 1/s of what it was, as long as s does not stretch the group's range (Lin et al.
2023, arXiv 2306.00978, sections 3.1 and 3.2). A column of large weights does that before others.
For every channel

    r = m^a / n^b,    s = r / sqrt(max(r) min(r))

with m the root mean square of its inputs (the paper: the mean) and n that of its weights; a and b,
two numbers for all channels, are those in [0, 1) for which the error of the outputs is least. With
b = 0 that is the paper's equations 4 and 5, with b = 1 - a what SmoothQuant moves (Xiao et al.
2022, arXiv 2211.10438, equation 4). Here the error is weighed as the search for scales weighs it,

    sum_ij h_j (w_ij - w^_ij)^2,    h_j the mean square of column j's inputs

and what rounds is the search (mlxforge.quantize.search), which tries more than the clipping of the
paper's section 3.3 does, or MLX's own rounding. Once the scales are chosen, codes keep the products
with the inputs' mean (mlxforge.quantize.means) besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlxforge.quantize import rtn
from mlxforge.quantize.affine import Affine, decode, unpack
from mlxforge.quantize.means import keep_means
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search

__all__ = ["Rounding", "channel_scales", "divided", "exponents", "scaled_error"]

LEAST = 1e-3  # of the median: what has no inputs or weights is not made smaller without end


@dataclass(frozen=True)
class Rounding:
    """``dtype`` is that of scales and biases; ``clip``: ranges are searched."""

    bits: int
    group_size: int
    dtype: mx.Dtype
    clip: bool

    def round(
        self, weight: mx.array, importance: mx.array | None, means: mx.array | None = None
    ) -> Affine:
        """``weight`` float32 [rows, columns], ``importance`` of its columns where it is known, and
        the ``means`` of what comes into them, where codes are to keep products with them;
        evaluated."""
        if self.clip:
            found = search(weight, self.bits, self.group_size, self.dtype, importance)
            if importance is None or means is None:
                return found
            return keep_means(weight, found, importance, means, self.bits)
        scheme = Scheme(self.bits, self.group_size, "affine")
        words, scales, biases = rtn.pack(weight, scheme)
        found = Affine(
            unpack(words, self.bits), scales.astype(self.dtype), biases.astype(self.dtype)
        )
        mx.eval(found.codes, found.scales, found.biases)
        return found


def exponents(grid: int) -> list[float]:
    """``grid`` numbers from 0, which changes nothing, to below 1."""
    return [place / grid for place in range(grid)]


def channel_scales(
    squares: np.ndarray, weights: np.ndarray, exponents: tuple[float, float]
) -> np.ndarray:
    """float32 [channels], of the mean squares of their inputs, and of their ``weights``."""
    raised = _magnitude(squares) ** exponents[0] / _magnitude(weights) ** exponents[1]
    found: np.ndarray = raised / np.sqrt(raised.max() * raised.min())
    return found.astype(np.float32)


def _magnitude(squares: np.ndarray) -> np.ndarray:
    floor = LEAST**2 * float(np.median(squares))
    found: np.ndarray = np.sqrt(np.maximum(squares, floor if floor > 0 else 1), dtype=np.float64)
    return found


def scaled_error(
    weight: mx.array, squares: np.ndarray, scales: np.ndarray, rounding: Rounding
) -> float:
    """The error of ``weight`` [rows, columns] rounded with its columns multiplied by ``scales``,
    where unscaled inputs have these mean ``squares`` [columns]."""
    by, heights = mx.array(scales), mx.array(squares.astype(np.float32))
    found = rounding.round(weight * by, heights / mx.square(by))
    off = weight - decode(found, rounding.group_size) / by
    return float((mx.square(off) * heights).sum())


def divided(affine: Affine, by: np.ndarray) -> Affine:
    """``affine`` with its rows divided by ``by`` [rows]: the same codes, and biases that make up
    for the rounding of the scales at the middle of each group; evaluated."""
    rows, columns = affine.codes.shape
    groups = affine.scales.shape[1]
    dtype, factor = affine.scales.dtype, 1 / mx.array(by.astype(np.float32))[:, None]
    middle = affine.codes.reshape(rows, groups, columns // groups).astype(mx.float32).mean(axis=-1)
    wanted = affine.scales.astype(mx.float32) * factor
    scales = wanted.astype(dtype)
    lost = (wanted - scales.astype(mx.float32)) * middle
    biases = (affine.biases.astype(mx.float32) * factor + lost).astype(dtype)
    mx.eval(scales, biases)
    return Affine(affine.codes, scales, biases)
