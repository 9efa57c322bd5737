"""A model without weights that runs all the same: what its own code does with numbers, unasked
which numbers they are.

Every matrix is replaced by a random one of low rank, the product of two thin ones, which costs
nothing at any size; norms, convolutions and whatever else is small get random numbers. So the
architecture's code can be tried, on a source of which only the headers are known.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

__all__ = ["Watch", "experts_of", "is_projection", "rows_of", "stand_in"]

RANK = 8
LARGE = 1 << 20  # numbers
EXPERTS = ("SwitchLinear", "QuantizedSwitchLinear")
LINEAR = (nn.Linear, nn.QuantizedLinear)
EMBEDDING = (nn.Embedding, nn.QuantizedEmbedding)


class Watch:
    """Sees what passes the stand-ins, and may change it; here nothing is changed."""

    def enter(self, path: str, x: mx.array, indices: mx.array | None) -> mx.array | None:
        """Inputs [..., columns]: what they are to be divided by, None for nothing."""
        return None

    def leave(self, path: str, y: mx.array, indices: mx.array | None) -> mx.array:
        """Outputs [..., rows]: what to go on with."""
        return y

    def head(self, path: str, x: mx.array) -> None:
        """Inputs of embeddings that are used as a head."""


def stand_in(model: nn.Module, watch: Callable[[], Watch]) -> None:
    """Exchange the matrices of ``model`` for stand-ins, all of which ask ``watch()``; its other
    parameters become random. None of them is computed unless it is used."""
    model.update(tree_map_with_path(_random, model.parameters()))
    for path, module in model.named_modules():
        if isinstance(module, _STAND_INS):
            continue  # one module in two places
        kind = _kind(module)
        if kind is None:
            continue
        module.__class__ = type(type(module).__name__, (kind, type(module)), {})
        module._path, module._watch = path, watch


def is_projection(module: nn.Module) -> bool:
    """Whether it multiplies by a matrix and by nothing else."""
    return isinstance(module, (_Linear, _Experts))


def experts_of(module: nn.Module) -> int:
    """How many matrices are stacked in a layer; 0 for a plain one."""
    return len(module["weight"]) if isinstance(module, _Experts) else 0


def rows_of(module: nn.Module) -> int:
    """Outputs of a projection."""
    return _sizes(module)[0]


class _Linear(nn.Module):  # type: ignore[misc]
    def __call__(self, x: mx.array, *_: Any, **__: Any) -> mx.array:
        return _passed(self, x, None)


class _Experts(nn.Module):  # type: ignore[misc]
    def __call__(self, x: mx.array, indices: mx.array, *_: Any, **__: Any) -> mx.array:
        return _passed(self, x, indices)


class _Raw(nn.Module):  # type: ignore[misc]
    """A layer of the architecture's own that multiplies by a matrix, as routers do."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        weight, x = self["weight"], args[0] if args else None
        if not isinstance(x, mx.array) or x.shape[-1:] != weight.shape[-1:]:
            return super().__call__(*args, **kwargs)
        by = self._watch().enter(self._path, x, None)
        if by is not None:
            self["weight"] = weight / by
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self["weight"] = weight


class _Embedding(nn.Module):  # type: ignore[misc]
    def __call__(self, x: mx.array) -> mx.array:
        rows, columns = _sizes(self)
        table = _normal(f"{self._path} tokens", 64, columns)
        found: mx.array = table[x % min(64, rows)]
        return found

    def as_linear(self, x: mx.array) -> mx.array:
        self._watch().head(self._path, x)
        return _product(self, x, None)


_STAND_INS = (_Linear, _Experts, _Raw, _Embedding)


def _kind(module: nn.Module) -> type[nn.Module] | None:
    if type(module).__name__ in EXPERTS:
        return _Experts
    if isinstance(module, EMBEDDING):
        return _Embedding
    if isinstance(module, LINEAR):
        return _Linear
    weight = module.get("weight")
    matrix = isinstance(weight, mx.array) and weight.ndim == 2
    return _Raw if matrix and not module.children() else None


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = module["weight"].shape[-2:]
    return rows, module["scales"].shape[-1] * module.group_size if "scales" in module else columns


def _passed(module: nn.Module, x: mx.array, indices: mx.array | None) -> mx.array:
    watch = module._watch()
    by = watch.enter(module._path, x, indices)
    y = _product(module, x if by is None else x / by, indices)
    if "bias" in module:
        bias = module["bias"]
        y = y + (bias if indices is None else mx.expand_dims(bias[indices], -2))
    found: mx.array = watch.leave(module._path, y, indices)
    return found


def _product(module: nn.Module, x: mx.array, indices: mx.array | None) -> mx.array:
    path, (rows, columns) = module._path, _sizes(module)
    inner = x.astype(mx.float32) @ (_normal(f"{path} in", columns, RANK) / columns**0.5)
    if indices is not None:
        inner = (
            inner * _normal(f"{path} experts", len(module["weight"]), RANK)[indices][..., None, :]
        )
    found: mx.array = inner @ (_normal(f"{path} out", RANK, rows) / RANK**0.5)
    return found


def _normal(name: str, *shape: int) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(zlib.crc32(name.encode())))


def _random(name: str, value: mx.array) -> mx.array:
    if not mx.issubdtype(value.dtype, mx.floating):
        return mx.zeros(value.shape, value.dtype)
    if value.size > LARGE:  # the same for all heads, which takes no memory
        return mx.broadcast_to(0.1 * _normal(name, *value.shape[1:]), value.shape)
    found = 0.1 * _normal(name, *value.shape)
    return found + 1 if value.ndim == 1 and name.endswith("weight") else found
