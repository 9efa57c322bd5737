"""The module tree of a model, written down as a layer table."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxforge.models.layers import Layer, LayerTable, Tensor
from mlxforge.models.load import cast_predicate, declared_dtype
from mlxforge.models.roles import role_of

__all__ = ["inspect_model"]


def inspect_model(model: nn.Module, config: dict[str, Any]) -> LayerTable:
    """Every parameter of ``model``, grouped by the leaf module that holds it.

    Shapes and dtypes are those after ``sanitize`` and before a cast. No weight is read.
    """
    leaves = dict(tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module))
    experts = {path for path, module in leaves.items() if "Switch" in type(module).__name__}
    casts = cast_predicate(model)
    rule = getattr(model, "quant_predicate", None) or (lambda path, module: True)
    layers, held = [], set()
    for path, module in leaves.items():
        tensors = tuple(
            _tensor(f"{path}.{name}", value, casts)
            for name, value in tree_flatten(module.parameters())
        )
        held |= {tensor.name for tensor in tensors}
        quantizable = hasattr(module, "to_quantized")
        kind = type(module).__name__
        if tensors:
            layers.append(
                Layer(
                    path=path,
                    kind=kind,
                    role=role_of(path, kind, experts),
                    quantizable=quantizable,
                    own_rule=_plain(rule(path, module)) if quantizable else True,
                    tensors=tensors,
                )
            )
    for name, value in tree_flatten(model.parameters()):
        if name not in held:  # held by a module that has children of its own
            tensors = (_tensor(name, value, casts),)
            role = role_of(name, "parameter", experts)
            layers.append(Layer(name, "parameter", role, False, True, tensors))
    return LayerTable(config["model_type"], declared_dtype(config), tuple(layers))


def _tensor(name: str, value: Any, casts: Any) -> Tensor:
    return Tensor(name, str(value.dtype).removeprefix("mlx.core."), value.shape, bool(casts(name)))


def _plain(rule: Any) -> bool | dict[str, Any]:
    """A predicate's answer; None means what False means to mlx_lm."""
    return dict(rule) if isinstance(rule, dict) else bool(rule)
