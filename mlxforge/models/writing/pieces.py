"""A layer's tensors as they will stand in the file, computed a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlxforge.models.layers.assign import Assignment
from mlxforge.models.layers.table import Layer, Tensor
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.writing.chosen import Chosen
from mlxforge.models.writing.container import TensorPlan
from mlxforge.models.writing.finite import E4M3, E8M0, Format, checked, format_of
from mlxforge.models.writing.packing import Pack
from mlxforge.quantize import rtn
from mlxforge.quantize.rtn import unpack
from mlxforge.quantize.scheme import Scheme

__all__ = ["PIECE_WEIGHTS", "Piece", "Stripe", "layer_stripes"]

PIECE_WEIGHTS = 1 << 20  # numbers of the source in one piece

FLOAT_CODES = {
    ("mxfp4", "scales"): E8M0, ("mxfp8", "scales"): E8M0, ("nvfp4", "scales"): E4M3,
    ("mxfp8", "weight"): E4M3,
}  # fmt: skip
"""What is held in unsigned integers and may be NaN."""

Piece = tuple[memoryview, ...]


@dataclass(frozen=True)
class Stripe:
    """Tensors that come out of the same rows: one, or a packed weight with its scales.

    ``compute(start, stop)`` gives those rows of each, in the order of ``tensors``.
    """

    tensors: tuple[TensorPlan, ...]
    rows: int
    columns: int
    compute: Callable[[int, int], tuple[mx.array, ...]]

    @property
    def step(self) -> int:
        """Rows in a piece."""
        return max(1, PIECE_WEIGHTS // max(1, self.columns))

    @property
    def pieces(self) -> int:
        return -(-self.rows // self.step)

    def jobs(self) -> Iterator[Callable[[], Piece]]:
        """The stripe's pieces, in order."""
        for start in range(0, self.rows, self.step):
            yield _job(self.compute, start, min(start + self.step, self.rows))


def _job(compute: Callable[[int, int], tuple[mx.array, ...]], start: int, stop: int) -> (
    Callable[[], Piece]
):  # fmt: skip
    return lambda: _bytes(compute(start, stop))


def _bytes(arrays: tuple[mx.array, ...]) -> Piece:
    flat = [mx.contiguous(array).reshape(-1) for array in arrays]
    # numpy has no bfloat16
    plain = [a.view(mx.uint16) if a.dtype == mx.bfloat16 else a for a in flat]
    mx.eval(plain)
    return tuple(np.array(array, copy=False).data.cast("B") for array in plain)


def layer_stripes(
    assignment: Assignment,
    cast: str | None,
    parameters: Mapping[str, Rows],
    allow_nonfinite: bool = False,
    pack: Pack | None = None,
    chosen: Chosen | None = None,
) -> Iterator[Stripe]:
    """What becomes of a layer: its weight under ``assignment.scheme``, as it was ``chosen``, or
    else by ``pack``, which is round to nearest unless it is given; the rest cast.

    Unless they are allowed, a piece with NaN or infinity raises ForgeError when it is computed.
    """
    layer = assignment.layer
    for tensor in layer.tensors:
        dtype = tensor.dtype_after(cast)
        if chosen is not None and tensor.name in chosen.tensors:
            yield _plain(tensor, dtype, _cast(chosen.rows, tensor.name, dtype, allow_nonfinite))
            continue
        if tensor.name != f"{layer.path}.weight":
            yield _plain(tensor, dtype, _cast(parameters, tensor.name, dtype, allow_nonfinite))
            continue
        stored, scheme = layer.packed_scheme, assignment.scheme
        if stored is not None:
            parts = _stored_parts(layer, stored, dtype, parameters, allow_nonfinite)
            read = _unpacked(parts, stored, dtype)
        else:
            read = _cast(parameters, tensor.name, dtype, allow_nonfinite)
        if scheme is None:
            yield _plain(tensor, dtype, read)
        elif chosen is not None and layer.path in chosen.layers:
            yield _packed(tensor, scheme, dtype, partial(chosen.read, layer.path))
        elif stored is not None and scheme.packs_like(stored):
            yield _packed(tensor, scheme, dtype, parts)
        else:
            yield _packed(tensor, scheme, dtype, _packing(read, pack or _nearest(scheme)))


Read = Callable[[int, int], mx.array]
ReadParts = Callable[[int, int], tuple[mx.array, ...]]


def _plain(tensor: Tensor, dtype: str, read: Read) -> Stripe:
    plan = TensorPlan(tensor.name, dtype, tensor.shape)
    columns = tensor.shape[-1] if tensor.shape else 1
    return Stripe((plan,), math.prod(tensor.shape[:-1]), columns, lambda a, b: (read(a, b),))


def _packed(weight: Tensor, scheme: Scheme, dtype: str, parts: ReadParts) -> Stripe:
    *lead, columns = weight.shape
    path = weight.name.removesuffix(".weight")
    groups = (*lead, columns // scheme.group_size)
    plans = [TensorPlan(weight.name, "uint32", (*lead, columns * scheme.bits // 32))]
    if scheme.mode == "affine":
        plans += [TensorPlan(f"{path}.{name}", dtype, groups) for name in ("scales", "biases")]
    else:
        plans += [TensorPlan(f"{path}.scales", "uint8", groups)]
    return Stripe(tuple(plans), math.prod(lead), columns, parts)


def _cast(parameters: Mapping[str, Rows], name: str, dtype: str, allow_nonfinite: bool) -> Read:
    to: mx.Dtype = getattr(mx, dtype)

    def read(start: int, stop: int) -> mx.array:
        return parameters[name].read(start, stop).astype(to)

    form = None if allow_nonfinite else format_of(to)
    return checked(name, parameters, read, form) if form else read


def _codes(parameters: Mapping[str, Rows], name: str, form: Format | None) -> Read:
    def read(start: int, stop: int) -> mx.array:
        return parameters[name].read(start, stop)

    return checked(name, parameters, read, form) if form else read


def _packing(read: Read, pack: Pack) -> ReadParts:
    return lambda start, stop: pack(read(start, stop), start)


def _nearest(scheme: Scheme) -> Pack:
    return lambda rows, start: rtn.pack(rows, scheme)


def _stored_parts(
    layer: Layer,
    stored: Scheme,
    dtype: str,
    parameters: Mapping[str, Rows],
    allow_nonfinite: bool,
) -> ReadParts:
    """The source's own codes, scales and biases; floating ones cast, as mlx_lm casts them."""
    reads = []
    for part in ("weight", "scales", "biases"):
        if (name := f"{layer.path}.{part}") in parameters:
            if stored.mode == "affine" and part != "weight":
                reads.append(_cast(parameters, name, dtype, allow_nonfinite))
            else:
                form = None if allow_nonfinite else FLOAT_CODES.get((stored.mode, part))
                reads.append(_codes(parameters, name, form))
    return lambda start, stop: tuple(read(start, stop) for read in reads)


def _unpacked(parts: ReadParts, stored: Scheme, dtype: str) -> Read:
    return lambda start, stop: unpack(parts(start, stop), stored).astype(getattr(mx, dtype))
