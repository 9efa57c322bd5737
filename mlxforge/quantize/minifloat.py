"""Small floats in numpy: e2m1, e4m3 and e8m0, and the 16-bit dtypes widened to float32.

A format eXmY has X bits of exponent and Y of mantissa; e2m1 and e4m3 have a sign and subnormals
(OCP Microscaling Formats v1.0, section 5.3; OCP 8-bit Floating Point v1.0). Everything here is a
few passes over an array, without a table: numpy's loops over small integers and float32 are
vectorized and let other threads run, its gathers are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "SOURCES",
    "Bits",
    "Bytes",
    "Floats",
    "Mask",
    "Source",
    "e2m1",
    "e4m3",
    "e4m3_values",
    "e8m0",
]

Bits = npt.NDArray[np.unsignedinteger[Any]]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# e2m1 is 0 0.5 1 1.5 2 3 4 6: a magnitude's code is the number of midpoints below it
E2M1_MIDPOINTS = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)


@dataclass(frozen=True)
class Source:
    """A dtype of weights, seen from float32, whose bits are its own, shifted and rescaled."""

    sign: int
    infinity: int
    shift: int  # float32's mantissa has so many bits more
    rescale: float = 1.0  # float32's exponent has another bias

    def widen(self, magnitudes: Bits) -> Floats:
        """The float32 values of finite numbers without sign, given as bits; exact."""
        words = magnitudes.astype(np.uint32)
        if self.shift:
            words <<= self.shift
        values = words.view(np.float32)
        if self.rescale != 1:
            values *= np.float32(self.rescale)
        return values

    def round(self, values: Floats) -> Floats:
        """Float32 ``values`` >= 0 with float16's subnormals if this is float16, else unchanged."""
        if self.rescale == 1:
            return values
        return values.astype(np.float16).astype(np.float32)


SOURCES = {
    "float16": Source(sign=1 << 15, infinity=0x7C00, shift=13, rescale=2.0**112),
    "bfloat16": Source(sign=1 << 15, infinity=0x7F80, shift=16),
    "float32": Source(sign=1 << 31, infinity=0x7F800000, shift=0),
}


def e2m1(values: Floats, negative: Mask) -> Bytes:
    """The nearest e2m1 codes, 0 to 15, of magnitudes and their signs.

    A midpoint goes to the smaller magnitude and a zero has no sign, which is what an argmin over
    the sixteen numbers finds. ``negative`` is overwritten.
    """
    nonzero = np.greater(values, E2M1_MIDPOINTS[0])
    negative &= nonzero
    codes: Bytes = nonzero.view(np.uint8)
    above = np.empty_like(nonzero)
    for midpoint in E2M1_MIDPOINTS[1:]:
        np.greater(values, midpoint, out=above)
        codes += above.view(np.uint8)
    signs = negative.view(np.uint8)
    signs *= 8
    codes |= signs
    return codes


def e4m3(values: Floats) -> Bytes:
    """The nearest e4m3 codes, 0 to 126, of magnitudes; ties to even; 448 and above is 126.

    ``values`` are overwritten.
    """
    np.minimum(values, np.float32(448), out=values)
    # beside 2^20 times its own power of two, a number keeps three bits of mantissa, rounded
    power = np.maximum(values, np.float32(2**-6)).view(np.uint32)
    power &= 0x7F800000
    large = power.view(np.float32)
    large *= np.float32(2**20)
    values += large
    values -= large
    # the two formats' least normal numbers brought together: now the codes are the upper bits
    values *= np.float32(2.0**-120)
    words = values.view(np.uint32)
    words >>= 20
    return words.astype(np.uint8)


def e4m3_values(codes: Bytes) -> Floats:
    """The numbers that e4m3 ``codes`` from 0 to 126 stand for."""
    values = (codes.astype(np.uint32) << 20).view(np.float32)
    values *= np.float32(2.0**120)
    return values


def e8m0(values: Floats) -> tuple[Bytes, Floats]:
    """The least power of two that is not below each of ``values``, as a biased exponent and itself.

    For normal numbers up to 2^127.
    """
    exponents = (values.view(np.uint32) + np.uint32((1 << 23) - 1)) >> 23
    return exponents.astype(np.uint8), (exponents << 23).view(np.float32)
