"""What moving a scale does to a model in memory, and to the tensors that will be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.models.layers.pairs import FROM_ONE, OTHER, ROWS, Pair
from mlxforge.models.scoring.leaves.fixed import fix_tensor

__all__ = ["Scalers", "columns_of"]

ONE = np.float32(1)


def columns_of(pair: Pair, reader: str, scales: np.ndarray, other: np.floating = ONE) -> np.ndarray:
    """``scales`` [channels] or [experts, channels] as the columns of ``reader`` see them; ``other``
    where they read something else."""
    channels = pair.channels(reader)
    found: np.ndarray = np.where(channels == OTHER, other, scales[..., channels])
    return found


class Scalers:
    """Divides what hands scales on. ``dtypes``: by name of a tensor, in which it will be stored;
    ``add`` is given the tensors that are not quantized and change."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        dtypes: Mapping[str, mx.Dtype],
        add: Callable[[str, mx.array], None],
    ) -> None:
        self._modules = modules
        self._dtypes = dtypes
        self._add = add

    def channels(self, pair: Pair) -> int:
        """How many the scaler has."""
        module = self._modules[pair.scaler]
        rows = module._matrix.shape[-2] if pair.kind == ROWS else module["weight"].size
        return int(rows)

    def left_of(self, pair: Pair, scales: np.ndarray) -> np.ndarray:
        """What ``scales`` are once the scaler is stored, float32: the weight of a norm is rounded,
        and then that is by what it was divided."""
        if pair.kind == ROWS:
            return scales
        before, after = self._weights(pair, scales)
        whole = (before != 0) & (after != 0)
        ratio = np.where(whole, before / np.where(whole, after, 1), 1)
        return np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1).astype(np.float32)

    def divide(self, pair: Pair, scales: np.ndarray) -> None:
        """By what ``left_of`` gave; of a projection only its bias, as its codes are elsewhere."""
        module = self._modules[pair.scaler]
        if pair.kind != ROWS:
            before, after = self._weights(pair, scales)
            after = np.where(scales == 1, before, after)
            shift = np.float32(pair.kind == FROM_ONE)
            self._change(pair.scaler, "weight", mx.array(after - shift))
        if "bias" in module:
            self._change(pair.scaler, "bias", module["bias"] / mx.array(scales))

    def multiply(self, path: str, by: np.ndarray) -> None:
        """The columns of a layer that is not quantized."""
        self._change(path, "weight", self._modules[path]["weight"] * mx.array(by))

    def _weights(self, pair: Pair, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a norm: by what it multiplies, now and once it was divided and stored."""
        shift = np.float32(pair.kind == FROM_ONE)
        before = np.array(self._modules[pair.scaler]["weight"].astype(mx.float32)) + shift
        after = mx.array(before / scales - shift).astype(self._dtypes[f"{pair.scaler}.weight"])
        return before, np.array(after.astype(mx.float32)) + shift

    def _change(self, path: str, name: str, value: mx.array) -> None:
        stored = value.astype(self._dtypes[f"{path}.{name}"])
        mx.eval(stored)
        self._add(f"{path}.{name}", stored)
        fix_tensor(self._modules, f"{path}.{name}", stored)
