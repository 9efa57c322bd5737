"""Weights that are not numbers: NaN and infinity, refused before they become somebody's model.

Every piece of a weight is looked at once, on its way through, by its bits. In each of the formats
the codes of NaN and infinity lie above those of all finite numbers. No code is above the bitwise or
of all, which settles it where all magnitudes are below 2, as those of nearly all weights are. Else
the greatest word tells: taken as signed it is the greatest positive number, taken as unsigned the
greatest negative one. Only where a piece is not finite is anything counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.models.streaming.expression import Computed, Expression, Stored
from mlxforge.models.streaming.rows import Rows

__all__ = ["E4M3", "E8M0", "Format", "Nonfinite", "checked", "count", "format_of", "is_finite"]

PIECE_WEIGHTS = 1 << 20  # numbers that are looked at together when they are counted


Read = Callable[[int, int], mx.array]


@dataclass(frozen=True)
class Format:
    """A floating format by its codes: ``largest`` finite magnitude, ``infinity`` where it has one;
    magnitudes above are NaN. ``signed``: whether the top bit is a sign."""

    word: type[np.unsignedinteger[Any]]
    largest: int
    infinity: int | None = None
    signed: bool = True

    @property
    def sign(self) -> int:
        return 1 << (8 * np.dtype(self.word).itemsize - 1) if self.signed else 0


FORMATS = {
    mx.float16: Format(np.uint16, 0x7BFF, 0x7C00),
    mx.bfloat16: Format(np.uint16, 0x7F7F, 0x7F80),
    mx.float32: Format(np.uint32, 0x7F7FFFFF, 0x7F800000),
}
E4M3 = Format(np.uint8, 0x7E)
E8M0 = Format(np.uint8, 0xFE, signed=False)


@dataclass(frozen=True)
class Nonfinite:
    """How many numbers are NaN, and how many are infinite."""

    nan: int = 0
    infinite: int = 0

    def __add__(self, other: Nonfinite) -> Nonfinite:
        return Nonfinite(self.nan + other.nan, self.infinite + other.infinite)

    def __bool__(self) -> bool:
        return bool(self.nan or self.infinite)

    def __str__(self) -> str:
        found = ((self.nan, "NaN"), (self.infinite, "infinite"))
        return " and ".join(f"{number:,} {what}" for number, what in found if number)


def format_of(dtype: mx.Dtype) -> Format | None:
    """None where every code of the dtype is a number."""
    return FORMATS.get(dtype)


def is_finite(array: mx.array, form: Format) -> bool:
    """Whether all of ``array``, taken as ``form``, are numbers; evaluates it."""
    words = _words(array, form)
    if int(np.bitwise_or.reduce(words)) & ~form.sign <= form.largest:
        return True
    if not form.signed:
        return int(words.max()) <= form.largest
    signed = words.view(words.dtype.str.replace("u", "i"))
    return int(signed.max()) <= form.largest and int(words.max()) <= form.sign + form.largest


def count(array: mx.array, form: Format) -> Nonfinite:
    """How many of ``array``, taken as ``form``, are none."""
    words = _words(array, form)
    magnitudes = words & ~words.dtype.type(form.sign)
    beyond = int(np.count_nonzero(magnitudes > form.largest))
    infinite = 0 if form.infinity is None else int(np.count_nonzero(magnitudes == form.infinity))
    return Nonfinite(beyond - infinite, infinite)


def _words(array: mx.array, form: Format) -> np.ndarray:
    """The codes, flat; a look into the array's own memory, where that is possible."""
    if not array.size:
        return np.empty(0, form.word)
    view = memoryview(array)  # type: ignore[arg-type]
    if not view.c_contiguous:
        view = memoryview(mx.contiguous(array))  # type: ignore[arg-type]
    return np.frombuffer(view, dtype=form.word)


def checked(name: str, parameters: Mapping[str, Rows], read: Read, form: Format) -> Read:
    """``read``, which gives rows of the parameter ``name``, with every piece looked at.

    The infinity of a parameter without axes is a bound that bounds nothing, and let through. What
    else is not finite raises ForgeError that names the tensor as it is stored.
    """

    def finite(start: int, stop: int) -> mx.array:
        found = read(start, stop)
        if not is_finite(found, form):
            rows = parameters[name]
            if rows.shape or count(found, form).nan:
                raise _refusal(rows, read, form, found.dtype)
        return found

    return finite


def _refusal(rows: Rows, read: Read, form: Format, dtype: mx.Dtype) -> ForgeError:
    anyway = "`quantize: {allow_nonfinite: true}` goes on with them"
    again = f"get the files again, or use another revision; {anyway}"
    if broken := dict(_broken(rows)):
        name, found = next(iter(broken.items()))
        among = f"{math.prod(found.shape):,} numbers of tensor {name!r}"
        others = f", and some in {len(broken) - 1:,} more that {rows.name} is made of"
        more = others if len(broken) > 1 else ""
        return ForgeError(f"{found.count} among the {among}{more}", again)
    total = _total(rows, read, form)
    numbers = math.prod(rows.shape) * dtype.size // np.dtype(form.word).itemsize
    named = f"{numbers:,} numbers of {rows.name}{_origin(rows)}"
    before = format_of(getattr(mx, rows.dtype))
    if before and not _total(rows, rows.read, before):
        wider = "`dtype: bfloat16` or `float32`" if dtype == mx.float16 else "`dtype: float32`"
        return ForgeError(
            f"{total.infinite:,} of the {named} are too large for "
            f"{str(dtype).removeprefix('mlx.core.')}",
            f"{wider} holds them; {anyway}",
        )
    return ForgeError(f"{total} among the {named}", again)


def _origin(rows: Rows) -> str:
    names = {leaf.name for leaf in _stored(rows.expression)} - {rows.name}
    return f" (from tensor {names.pop()!r})" if len(names) == 1 else ""


@dataclass(frozen=True)
class _Broken:
    shape: tuple[int, ...]
    count: Nonfinite


def _broken(rows: Rows) -> Iterator[tuple[str, _Broken]]:
    """The stored tensors that a parameter is made of and that are not finite."""
    for leaf in _stored(rows.expression):
        tensor = Rows(leaf.name, leaf, rows.stored, rows.whole)
        form = format_of(getattr(mx, leaf.dtype))
        if form and (found := _total(tensor, tensor.read, form)):
            yield leaf.name, _Broken(leaf.shape, found)


def _stored(expression: Expression) -> Iterator[Stored]:
    if isinstance(expression, Stored):
        yield expression
    elif isinstance(expression, Computed):
        for part in expression.inputs:
            yield from _stored(part)


def _total(rows: Rows, read: Read, form: Format) -> Nonfinite:
    step = max(1, PIECE_WEIGHTS // max(1, rows.columns))
    pieces = (
        count(read(start, min(start + step, rows.rows)), form)
        for start in range(0, rows.rows, step)
    )
    return sum(pieces, Nonfinite())
