"""The module tree of a model, written down as a layer table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxforge.errors import ForgeError
from mlxforge.models.layers.context import measure_cache
from mlxforge.models.layers.inspection import Inspection, write_parameters
from mlxforge.models.layers.positions import most_positions
from mlxforge.models.layers.roles import role_of
from mlxforge.models.layers.table import Layer, LayerTable, Tensor
from mlxforge.models.scoring.language import as_text_model
from mlxforge.models.source.load import cast_predicate, declared_dtype, load_source
from mlxforge.models.streaming.expression import Expression
from mlxforge.models.streaming.trace import dtype_name
from mlxforge.models.writing.save import plain_config

__all__ = ["inspect_model", "inspect_source"]

PACKED = ("QuantizedLinear", "QuantizedEmbedding", "QuantizedSwitchLinear", "QuantizedMultiLinear")
"""What mlx_lm makes of layers that a checkpoint holds packed."""


def inspect_source(source: Path, out: Path) -> Inspection:
    """Find out what ``source`` is made of and write it into ``out``; no weight is read.

    Raises ForgeError for a source that is not whole or cannot be understood.
    """
    traced = load_source(source)
    table = inspect_model(traced.model, traced.config)
    table = replace(
        table,
        layers=_tied(table.layers, traced.parameters),
        cache=measure_cache(as_text_model(traced.model), cast_predicate(traced.model)),
        positions=most_positions(traced.config),
    )
    (out / "layers.json").write_text(table.dumps())
    write_parameters(traced.parameters, out)
    plain_config(traced.config, traced.model, out / "config.json")
    return Inspection(out)


def inspect_model(model: nn.Module, config: dict[str, Any]) -> LayerTable:
    """Every parameter of ``model``, grouped by the leaf module that holds it.

    Shapes and dtypes are those after ``sanitize`` and before a cast. No weight is read.
    """
    leaves = dict(tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module))
    classes = {path: type(module).__name__ for path, module in model.named_modules()}
    experts = {path for path in leaves if "Switch" in classes[path]}
    casts = cast_predicate(model)
    rule = getattr(model, "quant_predicate", None) or (lambda path, module: True)
    layers: list[Layer] = []
    held: set[str] = set()
    for path, module in leaves.items():
        named = {f"{path}.{name}": value for name, value in tree_flatten(module.parameters())}
        held |= named.keys()
        packed = _packed(path, module)
        tensors = _leaf_tensors(path, named, packed, casts)
        quantizable = packed is not None or hasattr(module, "to_quantized")
        kind = type(module).__name__.removeprefix("Quantized" if packed else "")
        if tensors:
            layers.append(
                Layer(
                    path=path,
                    kind=kind,
                    role=role_of(path, classes, experts),
                    quantizable=quantizable,
                    own_rule=_plain(rule(path, module)) if quantizable else True,
                    tensors=tensors,
                    packed=packed,
                )
            )
    for name, value in tree_flatten(model.parameters()):
        if name not in held:  # held by a module that has children of its own
            tensors = (_tensor(name, value, casts),)
            role = role_of(name, classes, experts)
            layers.append(Layer(name, "parameter", role, False, True, tensors))
    return LayerTable(config["model_type"], declared_dtype(config), tuple(layers))


def _tied(layers: tuple[Layer, ...], parameters: Mapping[str, Expression]) -> tuple[Layer, ...]:
    """With the embeddings noted of which a head is a copy: some loaders make one of them."""
    embeddings = [layer for layer in layers if layer.role == "embeddings"]

    def source(layer: Layer) -> Expression | None:
        return parameters.get(f"{layer.path}.weight")

    def tied(head: Layer) -> Layer:
        weight = source(head)
        same = [layer.path for layer in embeddings if weight and source(layer) == weight]
        return replace(head, tied=same[0]) if same else head

    return tuple(tied(layer) if layer.role == "lm_head" else layer for layer in layers)


def _packed(path: str, module: nn.Module) -> dict[str, Any] | None:
    """How the source packs this layer; None where it does not."""
    if "scales" not in module:
        return None
    if type(module).__name__ not in PACKED or "global_scale" in module:
        raise ForgeError(
            f"{path} is packed in a way that cannot be unpacked here ({type(module).__name__})",
            "use the unquantized model as the source",
        )
    return {"bits": module.bits, "group_size": module.group_size, "mode": module.mode}


def _check_floating(name: str, weight: mx.array) -> None:
    if weight.ndim > 1 and not mx.issubdtype(weight.dtype, mx.floating):
        raise ForgeError(
            f"{name} holds {dtype_name(weight.dtype)} numbers, packed in a way that mlx_lm does "
            "not unpack",
            "use the unquantized model as the source",
        )


def _leaf_tensors(
    path: str, held: dict[str, mx.array], packed: dict[str, Any] | None, casts: Any
) -> tuple[Tensor, ...]:
    """A leaf's tensors. In the place of a packed weight with its scales stands the weight that
    it is unpacked to, with the dtype that unpacking gives."""
    name = f"{path}.weight"
    if packed is None:
        if name in held:
            _check_floating(name, held[name])
        return tuple(_tensor(entry, value, casts) for entry, value in held.items())
    *lead, words = held[name].shape
    scales = held[f"{path}.scales"].dtype
    dtype = dtype_name(scales) if packed["mode"] == "affine" else "bfloat16"
    weight = Tensor(name, dtype, (*lead, words * 32 // packed["bits"]), bool(casts(name)))
    parts = {f"{path}.{part}" for part in ("weight", "scales", "biases")}
    return (
        weight,
        *(_tensor(entry, value, casts) for entry, value in held.items() if entry not in parts),
    )


def _tensor(name: str, value: mx.array, casts: Any) -> Tensor:
    return Tensor(name, dtype_name(value.dtype), value.shape, bool(casts(name)))


def _plain(rule: Any) -> bool | dict[str, Any]:
    """A predicate's answer; None means what False means to mlx_lm."""
    return dict(rule) if isinstance(rule, dict) else bool(rule)
