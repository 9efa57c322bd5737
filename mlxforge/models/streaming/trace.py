"""What mlx_lm's loader does to a checkpoint's tensors, found out by watching it do it.

``load_model`` runs once with placeholders instead of weights, under ``mx.export_function``, which
tells every primitive that it used. So each parameter is known as an expression over stored
tensors, whatever the architecture and its ``sanitize`` are, and nothing is loaded. A parameter
that uses what cannot be told, or cannot be computed by rows, is ``Whole``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlxforge.models.streaming.expression import Computed, Constant, Expression, Stored, Whole
from mlxforge.models.streaming.operations import by_boxes

__all__ = ["Traced", "dtype_name", "trace_loading", "watched"]

MOST_CONSTANTS = 1 << 16  # numbers in one constant; larger ones are left to mlx_lm


@dataclass(frozen=True)
class Traced:
    """A model without weights (placeholders stand for them), its config, its parameters."""

    model: nn.Module
    config: dict[str, Any]
    parameters: Mapping[str, Expression]


def dtype_name(dtype: mx.Dtype) -> str:
    """The attribute of ``mlx.core`` that the dtype is."""
    name = str(dtype).removeprefix("mlx.core.")
    return "bool_" if name == "bool" else name


def trace_loading(
    files: Mapping[str, Mapping[str, mx.array]],
    load: Callable[[], tuple[nn.Module, dict[str, Any]]],
) -> Traced:
    """Run ``load`` and tell what becomes of the arrays in ``files`` (by file name, then tensor).

    ``load`` is mlx_lm's ``load_model`` of a folder; whatever it raises is passed on.
    """
    arrays = {name: array for tensors in files.values() for name, array in tensors.items()}
    inputs = list(arrays)
    loaded: list[tuple[nn.Module, dict[str, Any]]] = []
    names: list[str] = []
    graph = _Graph([Stored(name, arrays[name].shape, dtype_name(arrays[name].dtype))
                    for name in inputs])  # fmt: skip

    def traced(*placeholders: mx.array) -> list[mx.array]:
        given = dict(zip(inputs, placeholders, strict=True))
        with watched({file: {name: given[name] for name in held} for file, held in files.items()}):
            loaded.append(load())
        parameters = dict(tree_flatten(loaded[-1][0].parameters()))
        names[:] = parameters
        return list(parameters.values())

    try:
        mx.export_function(graph.take, traced, *arrays.values())
        model, config = loaded[-1]
        parameters = dict(zip(names, graph.outputs(), strict=True))
    except Exception:
        # Something in there cannot be exported, which the log tells; if the loader itself failed,
        # it fails again here.
        traceback.print_exc()
        with watched(files):
            model, config = load()
        parameters = {name: None for name, _ in tree_flatten(model.parameters())}
    expressions = {}
    for name, value in tree_flatten(model.parameters()):
        whole = Whole(name, value.shape, dtype_name(value.dtype))
        expressions[name] = parameters[name] or whole
    return Traced(model, config, expressions)


class _Graph:
    """Collects what ``export_function`` tells; values are known by the names it gives them."""

    def __init__(self, inputs: list[Expression]) -> None:
        self._inputs = inputs
        self._values: dict[str, Expression | None] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Constant] = {}
        self._outputs: list[str] = []

    def take(self, told: Mapping[str, Any]) -> None:
        match told["type"]:
            case "inputs":
                for (name, *_), stored in zip(told["inputs"], self._inputs, strict=True):
                    self._values[name] = stored
            case "outputs":
                self._outputs = [name for name, *_ in told["outputs"]]
            case "constants":
                for name, array in told["constants"]:
                    self._values[name] = self._constant(array)
            case "primitive":
                self._primitive(told)

    def outputs(self) -> list[Expression | None]:
        return [self._values[name] for name in self._outputs]

    def _constant(self, array: mx.array) -> Constant | None:
        """Equal ones are one: a thousand float8 weights share a table."""
        if array.size > MOST_CONSTANTS:
            return None
        raw = np.array(mx.contiguous(array).reshape(-1).view(mx.uint8)).tobytes()
        key = (dtype_name(array.dtype), array.shape, raw)
        if key not in self._constants:
            self._constants[key] = Constant(array.tolist(), array.shape, key[0])
        return self._constants[key]

    def _primitive(self, told: Mapping[str, Any]) -> None:
        inputs = [self._values[name] for name, *_ in told["inputs"]]
        known = [entry for entry in inputs if entry is not None]
        arguments = tuple(_plain(entry) for entry in told["arguments"])
        for number, (name, shape, dtype) in enumerate(told["outputs"]):
            found = Computed(
                told["name"], arguments, tuple(known), tuple(shape), dtype_name(dtype), number
            )
            usable = len(known) == len(inputs) and by_boxes(found)
            self._values[name] = found if usable else None


def _plain(argument: Any) -> Any:
    if isinstance(argument, mx.Dtype):
        return dtype_name(argument)
    return tuple(map(_plain, argument)) if isinstance(argument, (list, tuple)) else argument


@contextmanager
def watched(files: Mapping[str, Mapping[str, mx.array]]) -> Iterator[None]:
    """``mx.load`` gives placeholders; two operations that cannot be exported get a stand-in that
    gives the same numbers: a copy is the array itself, and fp8 is looked up in its 256 values."""
    replaced = {name: getattr(mx, name) for name in ("load", "contiguous", "from_fp8")}

    def from_fp8(x: mx.array, dtype: mx.Dtype = mx.bfloat16, **_: Any) -> mx.array:
        table = replaced["from_fp8"](mx.arange(256, dtype=mx.uint8), dtype=dtype)
        mx.eval(table)
        return mx.take(table, x, axis=0)

    try:
        mx.load = lambda path, *_, **__: dict(files.get(Path(path).name, {}))
        mx.contiguous = lambda a, *_, **__: a
        mx.from_fp8 = from_fp8
        yield
    finally:
        for name, value in replaced.items():
            setattr(mx, name, value)
