"""MLX's primitives, each as: which boxes of its inputs a box of its output needs, and what then.

An operation takes the expression, the box that is wanted of it and ``read(expression, box)``, and
returns an array of the box's shape. One that moves numbers about asks for less than the whole
wherever that is possible. Adding an operation is one function and one line in ``OPERATIONS``;
what stands in neither is left to mlx_lm's own loader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.models.streaming.boxes import (
    Box,
    boxes_of_range,
    cover,
    full,
    offset,
    shape_of,
    within,
)
from mlxforge.models.streaming.expression import Computed, Constant, Expression

__all__ = ["OPERATIONS", "Read", "by_boxes", "read_range"]

Read = Callable[[Expression, Box], mx.array]
Operation = Callable[[Computed, Box, Read], mx.array]


def by_boxes(node: Computed) -> bool:
    """Whether parts of ``node`` can be computed from parts of its inputs, and to the same bits."""
    match node.operation:
        case "Gather":
            axes, sizes = node.arguments
            return bool(len(node.inputs) == 2 and axes == (0,) and sizes[0] == 1)
        case "Reduce":  # a sum of floats hangs on the order of its terms
            return node.arguments[0] in REDUCTIONS and "float" not in node.dtype
        case "BitwiseBinary":
            return bool(0 <= node.arguments[0] < len(BITWISE))
    return node.operation in OPERATIONS


def read_range(expression: Expression, start: int, stop: int, read: Read) -> mx.array:
    """The elements ``start`` to ``stop`` in row-major order, [stop - start]."""
    pieces = [
        read(expression, box).reshape(-1) for box in boxes_of_range(expression.shape, start, stop)
    ]
    if not pieces:
        return mx.zeros((0,), dtype=getattr(mx, expression.dtype))
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces)


def _elementwise(function: Callable[..., mx.array]) -> Operation:
    def operation(node: Computed, box: Box, read: Read) -> mx.array:
        return function(*(read(entry, box) for entry in node.inputs))

    return operation


def _reshape(node: Computed, box: Box, read: Read) -> mx.array:
    around = cover(node.shape, box)
    start = offset(node.shape, around)
    found = read_range(node.inputs[0], start, start + math.prod(shape_of(around)), read)
    return found.reshape(shape_of(around))[within(around, box)]


def _expand_dims(node: Computed, box: Box, read: Read) -> mx.array:
    axes = _axes(node.arguments[0], len(node.shape))
    kept = tuple(part for axis, part in enumerate(box) if axis not in axes)
    return read(node.inputs[0], kept).reshape(shape_of(box))


def _squeeze(node: Computed, box: Box, read: Read) -> mx.array:
    source = node.inputs[0]
    axes = _axes(node.arguments[0], len(source.shape))
    parts = iter(box)
    wanted = tuple((0, 1) if axis in axes else next(parts) for axis in range(len(source.shape)))
    return read(source, wanted).reshape(shape_of(box))


def _axes(axes: Any, dimensions: int) -> set[int]:
    return {axis % dimensions for axis in axes}


def _transpose(node: Computed, box: Box, read: Read) -> mx.array:
    order = node.arguments[0]
    wanted = [(0, 0)] * len(box)
    for axis, part in zip(order, box, strict=True):
        wanted[axis] = part
    return read(node.inputs[0], tuple(wanted)).transpose(order)


def _slice(node: Computed, box: Box, read: Read) -> mx.array:
    starts, _, strides = node.arguments
    if any(stride < 1 for stride in strides):  # backwards: take all of it and step in memory
        whole = read(node.inputs[0], full(node.inputs[0].shape))
        return _stepped(whole, node)[within(full(node.shape), box)]
    wanted = tuple(
        (start + first * stride, start + (last - 1) * stride + 1)
        for (first, last), start, stride in zip(box, starts, strides, strict=True)
    )
    return read(node.inputs[0], wanted)[tuple(slice(None, None, stride) for stride in strides)]


def _stepped(array: mx.array, node: Computed) -> mx.array:
    for axis, (start, stride) in enumerate(zip(*node.arguments[::2], strict=True)):
        indices = mx.arange(node.shape[axis]) * stride + start
        array = mx.take(array, indices, axis=axis)
    return array


def _split(node: Computed, box: Box, read: Read) -> mx.array:
    indices, axis = node.arguments
    start = (0, *indices)[node.output]
    return read(node.inputs[0], _moved(box, axis % len(box), start))


def _moved(box: Box, axis: int, by: int) -> Box:
    start, stop = box[axis]
    return (*box[:axis], (start + by, stop + by), *box[axis + 1 :])


def _concatenate(node: Computed, box: Box, read: Read) -> mx.array:
    axis = node.arguments[0] % len(box)
    start, stop = box[axis]
    pieces, position = [], 0
    for source in node.inputs:
        extent = source.shape[axis]
        low, high = max(start - position, 0), min(stop - position, extent)
        if low < high:
            pieces.append(read(source, (*box[:axis], (low, high), *box[axis + 1 :])))
        position += extent
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces, axis=axis)


def _broadcast(node: Computed, box: Box, read: Read) -> mx.array:
    source = node.inputs[0]
    parts = box[len(box) - len(source.shape) :]
    wanted = tuple(
        (0, 1) if extent == 1 else part for extent, part in zip(source.shape, parts, strict=True)
    )
    return mx.broadcast_to(read(source, wanted), shape_of(box))


def _pad(node: Computed, box: Box, read: Read) -> mx.array:
    source, filling = node.inputs
    axes, lows, _ = node.arguments
    low = dict(zip((axis % len(box) for axis in axes), lows, strict=True))
    wanted, around = [], []
    for axis, ((start, stop), extent) in enumerate(zip(box, source.shape, strict=True)):
        first = min(max(start - low.get(axis, 0), 0), extent)
        last = min(max(stop - low.get(axis, 0), first), extent)
        wanted.append((first, last))
        before = min(max(low.get(axis, 0) - start, 0), stop - start)
        around.append((before, (stop - start) - before - (last - first)))
    value = read(filling, ())
    if any(first == last for first, last in wanted):
        return mx.broadcast_to(value, shape_of(box))
    return mx.pad(read(source, tuple(wanted)), around, constant_values=value)


def _gather(node: Computed, box: Box, read: Read) -> mx.array:
    """``take`` along the first axis: of a table, or of single entries of something large."""
    source, places = node.inputs
    lead = len(places.shape)
    indices = read(places, box[:lead])
    trailing = box[lead + 1 :]
    if isinstance(source, Constant):
        table = read(source, full(source.shape))[(slice(None), *_slices(trailing))]
        return mx.take(table, indices, axis=0).reshape(shape_of(box))
    wanted = np.array(indices, dtype=np.int64).reshape(-1) % source.shape[0]
    rows = [read(source, ((int(row), int(row) + 1), *trailing)) for row in wanted]
    return mx.concatenate(rows, axis=0).reshape(shape_of(box))


def _slices(box: Box) -> Iterator[slice]:
    return (slice(start, stop) for start, stop in box)


def _astype(node: Computed, box: Box, read: Read) -> mx.array:
    return read(node.inputs[0], box).astype(getattr(mx, node.dtype))


def _view(node: Computed, box: Box, read: Read) -> mx.array:
    source = node.inputs[0]
    wanted = box if source.shape == node.shape else (*box[:-1], (0, source.shape[-1]))
    found = mx.contiguous(read(source, wanted)).view(getattr(mx, node.dtype))
    return found if source.shape == node.shape else found[..., slice(*box[-1])]


def _same(node: Computed, box: Box, read: Read) -> mx.array:
    return read(node.inputs[0], box)


def _arange(node: Computed, box: Box, read: Read) -> mx.array:
    start, stop, step = node.arguments
    whole = mx.arange(start, stop, step, dtype=getattr(mx, node.dtype))
    return whole[slice(*box[0])]


BITWISE = (mx.bitwise_and, mx.bitwise_or, mx.bitwise_xor, mx.left_shift, mx.right_shift)


def _bitwise(node: Computed, box: Box, read: Read) -> mx.array:
    left, right = (read(entry, box) for entry in node.inputs)
    return BITWISE[node.arguments[0]](left, right)


REDUCTIONS = {2: mx.sum}


def _reduce(node: Computed, box: Box, read: Read) -> mx.array:
    kind, axes = node.arguments
    source = node.inputs[0]
    wanted = tuple(
        (0, source.shape[axis]) if axis in axes else part for axis, part in enumerate(box)
    )
    return REDUCTIONS[kind](read(source, wanted), axis=list(axes), keepdims=True)


OPERATIONS: dict[str, Operation] = {
    "Reshape": _reshape, "Flatten": _reshape, "Unflatten": _reshape,
    "ExpandDims": _expand_dims, "Squeeze": _squeeze, "Transpose": _transpose,
    "Slice": _slice, "Split": _split, "Concatenate": _concatenate, "Pad": _pad,
    "Broadcast": _broadcast, "Gather": _gather, "AsType": _astype, "View": _view,
    "Full": _same, "Copy": _same, "StopGradient": _same, "Arange": _arange,
    "BitwiseBinary": _bitwise, "Reduce": _reduce,
    "Add": _elementwise(mx.add), "Subtract": _elementwise(mx.subtract),
    "Multiply": _elementwise(mx.multiply), "Divide": _elementwise(mx.divide),
    "Power": _elementwise(mx.power), "Negative": _elementwise(mx.negative),
    "Abs": _elementwise(mx.abs), "Exp": _elementwise(mx.exp), "Sqrt": _elementwise(mx.sqrt),
    "Square": _elementwise(mx.square), "Select": _elementwise(mx.where),
    "Maximum": _elementwise(mx.maximum), "Minimum": _elementwise(mx.minimum),
    "Greater": _elementwise(mx.greater), "GreaterEqual": _elementwise(mx.greater_equal),
    "Less": _elementwise(mx.less), "LessEqual": _elementwise(mx.less_equal),
}  # fmt: skip
