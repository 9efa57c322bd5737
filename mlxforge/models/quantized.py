"""From a source folder and one decision per layer to a finished model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxforge.models.assign import Assignment
from mlxforge.models.load import cast, declared_dtype, load_source
from mlxforge.models.save import copy_side_files, save_config, save_weights
from mlxforge.models.size import model_size
from mlxforge.quantize.rtn import quantize_module
from mlxforge.quantize.scheme import Scheme

__all__ = ["write_model"]


class Wish(Protocol):
    """What the recipe says of the model as a whole."""

    @property
    def method(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def group_size(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def dtype(self) -> str | None: ...


def write_model(
    source: Path, assignments: Sequence[Assignment], wish: Wish, out: Path, progress: Any
) -> None:
    """Quantize as ``assignments`` say, cast the rest to ``wish.dtype``, write all into ``out``.

    Every tensor is bit-identical to what ``mlx_lm.convert`` makes of the same decisions.
    """
    model, config = load_source(source)
    dtype = wish.dtype or declared_dtype(config)
    cast(model, dtype)
    default = Scheme(wish.bits, wish.group_size, wish.mode)
    quantization = None if wish.method == "none" else quantization_entry(default, assignments)
    save_config(config, quantization, model, out)
    copy_side_files(source, out)
    size = model_size(assignments, dtype)
    (out / "mlxforge.json").write_text(_provenance(assignments, size.bytes, size.bits_per_weight))
    tensors = _tensors(model, {entry.layer.path: entry.scheme for entry in assignments})
    del model  # the arrays in ``tensors`` are now the only ones
    save_weights(tensors, size.parameters, out, progress)


def quantization_entry(default: Scheme, assignments: Sequence[Assignment]) -> dict[str, Any]:
    """``config["quantization"]``: the default, and every quantizable layer that differs from it.

    Nothing but layers may stand here: mlx-swift refuses other keys.
    """
    entry: dict[str, Any] = default.config()
    for assignment in assignments:
        if assignment.layer.quantizable and assignment.scheme != default:
            entry[assignment.layer.path] = (
                assignment.scheme.config() if assignment.scheme else False
            )
    return entry


def _tensors(model: nn.Module, schemes: Mapping[str, Scheme | None]) -> dict[str, mx.array]:
    """Every tensor of the result by name; lazy."""
    leaves = dict(tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module))
    tensors = dict(tree_flatten(model.parameters()))
    for path, module in leaves.items():
        scheme = schemes.get(path)
        if scheme is None:
            continue
        del tensors[f"{path}.weight"]
        for name, value in tree_flatten(quantize_module(module, scheme).parameters()):
            tensors[f"{path}.{name}"] = value
    return tensors


def _provenance(assignments: Sequence[Assignment], size: int, bits_per_weight: float) -> str:
    """``mlxforge.json``: what was done to each layer. The same for everybody: no host, no time."""
    layers = {
        entry.layer.path: {
            "role": entry.layer.role,
            "decided_by": entry.reason,
            **(entry.scheme.config() if entry.scheme else {"bits": None}),
        }
        for entry in assignments
        if entry.layer.quantizable
    }
    document = {"bytes": size, "bits_per_weight": round(bits_per_weight, 4), "layers": layers}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
