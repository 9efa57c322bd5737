"""Whether a part of the last layer's rows gives that part of the logits, proved from the graph.

An architecture may index its vocabulary after the last layer, and MLX does not check bounds: on
logits of a part of the vocabulary that reads or writes outside of them. So the head is not run on
parts until its graph has been seen, with nothing computed: from the layer's parameters to the
logits there may be nothing but the layer's product and operations on single numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlxforge.models.scoring.leaves.held import Holder, stood_in

__all__ = ["columns_stand_alone"]

SINGLE = {
    "Abs", "Add", "AsType", "Copy", "Divide", "Exp", "Log", "Maximum", "Minimum", "Multiply",
    "Negative", "Sigmoid", "Sqrt", "Square", "StopGradient", "Subtract", "Tanh",
}  # fmt: skip
RESHAPED = {"ExpandDims", "Flatten", "Reshape", "Squeeze", "Unflatten"}


@dataclass(frozen=True)
class _Value:
    """``axis``: that of the vocabulary, counted from the end (-1 is the last one); None where the
    value does not depend on the layer. ``own`` is the shape before it was broadcast."""

    shape: tuple[int, ...]
    own: tuple[int, ...]
    axis: int | None = None

    def same_for_all(self, axis: int) -> bool:
        """Whether the value is one and the same along ``axis`` of what it is combined with."""
        return self.axis is None and (len(self.own) < -axis or self.own[axis] == 1)


class _Mixed(Exception):
    """An entry of the logits may depend on more than its own row of the layer."""


def columns_stand_alone(run: Callable[[], mx.array], module: Holder, tokens: int) -> bool:
    """Whether ``run``, which gives logits [1, tokens, rows of ``module``], computes each column
    of them from one row of ``module``, wherever the column stands.

    False also where it cannot be told, as when ``run`` looks at numbers that the layer gives.
    """
    rows = module._held.rows
    stand_ins = _stand_ins(module, tokens)
    told: list[Mapping[str, Any]] = []

    def traced(*arrays: mx.array) -> mx.array:
        with stood_in(module, dict(zip(stand_ins, arrays, strict=True))):
            return run()

    mx.disable_compile()  # inside of a compiled function nothing is told
    try:
        mx.export_function(told.append, traced, *stand_ins.values())
        found = _follow(told, rows)
    except Exception:  # whatever cannot be exported, or is not as expected
        return False
    finally:
        mx.enable_compile()
    return found.axis == -1 and found.shape == (1, tokens, rows)


def _stand_ins(module: Holder, tokens: int) -> dict[str, mx.array]:
    """Arrays like the module's own, never computed; ``product`` is like its product."""
    held = module._held
    found = {name: mx.zeros(shape, dtype) for name, (shape, dtype) in held.shapes.items()}
    for name, value in module.items():
        if isinstance(value, mx.array):
            found[name] = mx.zeros(value.shape, value.dtype)
    found["product"] = mx.zeros((tokens, held.rows))
    return found


def _follow(told: Sequence[Mapping[str, Any]], rows: int) -> _Value:
    """The output, after all that ``export_function`` told."""
    values: dict[str, _Value] = {}
    output = ""
    for entry in told:
        match entry["type"]:
            case "inputs":
                *parameters, (product, whole, _) = entry["inputs"]
                values[product] = _Value(whole, whole, -1)
                for name, shape, _ in parameters:
                    if shape[:1] != (rows,):
                        raise _Mixed
                    values[name] = _Value(shape, shape, -len(shape))
            case "constants":
                constants: list[tuple[str, mx.array]] = entry["constants"]
                values |= {name: _Value(array.shape, array.shape) for name, array in constants}
            case "outputs":
                ((output, *_),) = entry["outputs"]
            case "primitive":
                inputs = [values[name] for name, *_ in entry["inputs"]]
                for name, shape, _ in entry["outputs"]:
                    values[name] = _result(entry["name"], entry["arguments"], inputs, shape)
    return values[output]


def _result(
    name: str, arguments: Sequence[Any], inputs: Sequence[_Value], shape: tuple[int, ...]
) -> _Value:
    axes = {value.axis for value in inputs} - {None}
    if not axes:
        kept = name in ("AsType", "Broadcast")
        return _Value(shape, inputs[0].own if kept else shape)
    if len(axes) > 1:
        raise _Mixed
    (axis,) = axes
    assert axis is not None
    rest = [value for value in inputs if value.axis is None]
    extent = next(value.shape[axis] for value in inputs if value.axis is not None)
    match name, [value.axis for value in inputs]:
        case ("Matmul", [None, -1]) | ("AddMM", [None, -1, -1]):
            pass
        case ("AddMM", [None, -1, None]) if inputs[2].same_for_all(-1):
            pass
        case ("QuantizedMatmul", [None, -2, -2]) | ("QuantizedMatmul", [None, -2, -2, -2]) if (
            arguments[3] is True
        ):
            axis = -1
        case "Transpose", [_]:
            ndim = len(shape)
            axis = list(arguments[0]).index(axis + ndim) - ndim
        case "Broadcast", [_]:
            pass
        case _, [-1] if name in RESHAPED:
            pass
        case _ if name in SINGLE and all(value.same_for_all(axis) for value in rest):
            pass
        case _:
            raise _Mixed
    if len(shape) < -axis or shape[axis] != extent:
        raise _Mixed
    return _Value(shape, shape, axis)
