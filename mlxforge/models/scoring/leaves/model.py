"""A model whose weights stay in their files: any architecture of mlx_lm, made from its folder.

mlx_lm's own modules run. Only where a module would hold a large parameter, its class is exchanged
for one that reads it: linear layers, embeddings and experts by parts, all else when it is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from mlxforge.models.scoring.leaves.held import Held, Holder, Load
from mlxforge.models.scoring.leaves.layers import HeldEmbedding, HeldLinear, HeldSwitchLinear
from mlxforge.models.scoring.leaves.matrix import Matrix, Packing, widen
from mlxforge.models.scoring.leaves.supply import Range, Supply
from mlxforge.models.source.trust import load_model
from mlxforge.models.streaming.rows import Rows

__all__ = ["decoded_bytes", "decoded_parts", "hold_model", "supply_of"]

RESIDENT = 256 << 10  # bytes: a parameter of that size or less is loaded at once

KINDS: Mapping[type[nn.Module], type[Holder]] = {
    nn.Linear: HeldLinear,
    nn.QuantizedLinear: HeldLinear,
    nn.Embedding: HeldEmbedding,
    nn.QuantizedEmbedding: HeldEmbedding,
    SwitchLinear: HeldSwitchLinear,
    QuantizedSwitchLinear: HeldSwitchLinear,
}
EXPERTS = ("SwitchLinear", "QuantizedSwitchLinear")
"""Stacked experts are a class of mlx_lm and one of mlx_vlm."""


def hold_model(
    folder: Path, tensors: Mapping[str, Rows], supply: Supply, *, as_stored: bool = False
) -> nn.Module:
    """The model in ``folder``; its ``tensors`` are read through ``supply`` when they are used.

    The arithmetic is float32 on weights that are unpacked in float32, or MLX's own on what is
    stored where ``as_stored`` says so.
    """
    model, _ = load_model(folder)
    model.eval()
    for path, module in model.named_modules():
        if isinstance(module, Holder):
            continue  # one module in two places
        own = {
            name: tensors[f"{path}.{name}" if path else name]
            for name, value in module.items()
            if isinstance(value, mx.array) and f"{path}.{name}".lstrip(".") in tensors
        }
        kind = None if as_stored else _kind(type(module))
        if kind is not None:
            _hold_matrix(module, kind, own, supply)
        else:
            _hold_parameters(module, own, supply, as_stored)

    def load(name: str, value: mx.array) -> mx.array:
        found = tensors[name].read_all() if name in tensors else value
        return found if as_stored else widen(found)

    model.update(tree_map_with_path(load, model.parameters()))
    mx.eval(model.parameters())
    return model


def _kind(of: type[nn.Module]) -> type[Holder] | None:
    vision = of.__name__ in EXPERTS and of.__module__ == "mlx_vlm.models.switch_layers"
    return HeldSwitchLinear if vision else KINDS.get(of)


def decoded_bytes(model: nn.Module) -> int:
    """What the parameters that are read on use would take in memory, all of them together."""
    holders = {id(module): module for _, module in model.named_modules()}.values()
    return sum(module._held.bytes for module in holders if isinstance(module, Holder))


def supply_of(model: nn.Module) -> Supply | None:
    """What the model's weights are read through; None where all of them are in memory."""
    modules = (module for _, module in model.named_modules())
    return next((module._held.supply for module in modules if isinstance(module, Holder)), None)


def _hold_matrix(
    module: nn.Module, kind: type[Holder], own: Mapping[str, Rows], supply: Supply
) -> None:
    packing = None
    if "scales" in own:
        packing = Packing(module.group_size, module.bits, module.mode)
    matrix = Matrix(
        own["weight"], packing, own.get("scales"), own.get("biases"), own.get("global_scale")
    )
    for name in ("weight", "scales", "biases", "global_scale"):
        module.pop(name, None)
    load: dict[str, Load] = {"weight": partial(decoded_parts, matrix, supply)}
    size = 4 * matrix.rows * matrix.columns
    bias = own.get("bias")
    if bias is not None and _size(bias) > RESIDENT:
        del module["bias"]
        load["bias"] = partial(_read, bias, supply, False)
        size += _size(bias)
    module.__class__ = kind
    module._matrix = matrix
    shapes = {"weight": (matrix.shape, mx.float32)}
    if "bias" in load and bias is not None:
        shapes["bias"] = (bias.shape, mx.float32)
    step = supply.part_rows(matrix)
    alone = len(matrix.shape) == 2  # not stacked by experts
    module._held = Held(supply, load, shapes, *((matrix.rows, step) if alone else (0, 0)), size)


def _hold_parameters(
    module: nn.Module, own: Mapping[str, Rows], supply: Supply, as_stored: bool
) -> None:
    large = {name: rows for name, rows in own.items() if _size(rows) > RESIDENT}
    if not large:
        return
    for name in large:
        del module[name]
    module.__class__ = _reading(type(module))
    load: dict[str, Load] = {
        name: partial(_read, rows, supply, as_stored) for name, rows in large.items()
    }
    shapes = {name: (rows.shape, _dtype(rows, as_stored)) for name, rows in large.items()}
    arrays = (value.shape for value in module.values() if isinstance(value, mx.array))
    extents = {shape[:1] for shape in (*arrays, *(shape for shape, _ in shapes.values()))}
    common = extents.pop() if len(extents) == 1 else ()
    rows, step = (common[0], 1) if common else (0, 0)
    module._held = Held(supply, load, shapes, rows, step, sum(map(_size, large.values())))
    module._names = tuple(rows.name for rows in large.values())


def _reading(kind: type[nn.Module]) -> type[Holder]:
    return type(f"Held{kind.__name__}", (_Reading, kind), {})


class _Reading(Holder):
    """A layer of any kind: its parameters are read for each call, and let go after it."""

    _names: tuple[str, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kept = all(map(self._held.supply.keeps_whole, self._names))
        if kept or self._held.stand_ins is not None:
            return super().__call__(*args, **kwargs)
        mx.eval(args, kwargs)
        found = super().__call__(*args, **kwargs)
        mx.eval(found)
        return found


def _dtype(rows: Rows, as_stored: bool) -> mx.Dtype:
    found = getattr(mx, rows.dtype)
    return mx.float32 if not as_stored and mx.issubdtype(found, mx.floating) else found


def _size(rows: Rows) -> int:
    return 4 * rows.rows * rows.columns


def decoded_parts(matrix: Any, supply: Supply, window: Range | None) -> mx.array:
    """The rows of ``window``, float32; all of them in the weight's own shape where it is None."""
    start, stop = window or (0, matrix.rows)
    found = mx.concatenate(list(supply.parts(matrix, supply.cut(matrix, start, stop))))
    return found if window else found.reshape(matrix.shape)


def _read(rows: Rows, supply: Supply, as_stored: bool, window: Range | None) -> mx.array:
    def ready(found: mx.array) -> mx.array:
        return found if as_stored else widen(found)

    if window is None or len(rows.shape) != 2 or supply.keeps_whole(rows.name):
        found = supply.whole(rows.name, lambda: ready(rows.read_all()))
        return found if window is None else found[slice(*window)]
    return ready(rows.read(*window))
