"""The layers of a quantized model that are trained together, and what training has made of them.

A layer is one trainable weight, or one per expert; its parameters are named ``path/expert/slope``
and ``path/expert/middle``. A norm's weight has a parameter named as the tensor is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from mlxforge.calibrate.distill.descent import Parameters
from mlxforge.models.scoring.leaves.fixed import expert_count, has_matrix
from mlxforge.models.scoring.leaves.matrix import Matrix
from mlxforge.models.scoring.leaves.trained import Weigh, multiplied_by
from mlxforge.quantize.affine import Affine, unpack
from mlxforge.quantize.trainable import Trainable, trainable

__all__ = ["Layers", "Values", "norm_tensors", "trainable_paths"]

Values = Mapping[str, mx.array]
"""Scales, biases and norms' weights by tensor name, as they stand in the model's files."""

NOTHING: Mapping[str, Collection[int]] = {}
NORM_STEP = 0.1  # of its mean square: what a norm's weight moves by, where a group moves by a step


def trainable_paths(modules: Mapping[str, nn.Module]) -> list[str]:
    """Layers that multiply their inputs by an affine quantized weight, and do nothing else."""
    return [path for path, module in modules.items() if has_matrix(module) and _affine(module)]


def norm_tensors(modules: Mapping[str, nn.Module]) -> list[str]:
    """Names of the weights of norms."""
    return [
        f"{path}.weight"
        for path, module in modules.items()
        if "Norm" in type(module).__name__ and isinstance(dict.get(module, "weight"), mx.array)
    ]


def _affine(module: nn.Module) -> bool:
    matrix = module._matrix
    if not isinstance(matrix, Matrix) or matrix.packing is None or matrix.biases is None:
        return False
    return bool(matrix.packing.mode == "affine")


class Layers:
    """Those at ``paths`` among ``modules``, all of their codes in memory, and the ``norms`` named
    with the dtypes that they are stored in. Experts that are ``still``, by path, have no parameters
    and stay as they are.

    ``values`` are taken in the place of what the model's files hold.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        paths: Collection[str],
        norms: Mapping[str, mx.Dtype],
        values: Values | None = None,
        still: Mapping[str, Collection[int]] = NOTHING,
    ) -> None:
        self._still = {path: frozenset(still.get(path, ())) for path in paths}
        self._modules = {path: modules[path] for path in paths}
        self._layers = {
            path: [trainable(entry) for entry in _read(path, module, values or {})]
            for path, module in self._modules.items()
        }
        self._norms = {
            name: _Norm(modules[name.removesuffix(".weight")], dtype, (values or {}).get(name))
            for name, dtype in norms.items()
        }

    def weights(self, path: str) -> dict[int, Trainable]:
        """Of one layer those that are trained: by the number of the expert, or a single one."""
        still = self._still[path]
        return {n: weight for n, weight in enumerate(self._layers[path]) if n not in still}

    def start(self) -> Parameters:
        """Parameters at which everything is as it was read."""
        found = {name: mx.zeros(norm.shape) for name, norm in self._norms.items()}
        for path in self._layers:
            for number, weight in self.weights(path).items():
                names = f"{path}/{number}/slope", f"{path}/{number}/middle"
                found |= dict(zip(names, weight.start(), strict=True))
        return found

    def values(self, parameters: Parameters) -> dict[str, mx.array]:
        """What ``parameters`` stand for, as it is stored; evaluated."""
        found = {
            name: norm.stored(parameters[name]).astype(norm.dtype)
            for name, norm in self._norms.items()
        }
        for path, weights in self._layers.items():
            parts = [
                weight.result(*self._at(parameters, path, number))
                for number, weight in enumerate(weights)
            ]
            stacked = expert_count(self._modules[path]) > 0
            for part in ("scales", "biases"):
                arrays = [getattr(entry, part) for entry in parts]
                found[f"{path}.{part}"] = mx.stack(arrays) if stacked else arrays[0]
        mx.eval(found)
        return found

    @contextmanager
    def used(self, parameters: Parameters, *, decoded: bool = False) -> Iterator[None]:
        """The model computes with what ``parameters`` stand for. ``decoded``: for many runs
        without gradients, each weight is decoded once and stays."""
        weighing = [
            (module, partial(self._weigh, path, parameters))
            for path, module in self._modules.items()
        ]
        once = [(module, _Once(weigh)) for module, weigh in weighing]
        with multiplied_by(once if decoded else weighing):
            before = {name: norm.module["weight"] for name, norm in self._norms.items()}
            for name, norm in self._norms.items():
                norm.module["weight"] = norm.stored(parameters[name])
            try:
                yield
            finally:
                for name, norm in self._norms.items():
                    norm.module["weight"] = before[name]

    def _weigh(
        self, path: str, parameters: Parameters, expert: int | None, rows: slice
    ) -> mx.array:
        number = expert or 0
        return self._layers[path][number].weight(*self._at(parameters, path, number), rows)

    def _at(self, parameters: Parameters, path: str, number: int) -> tuple[mx.array, mx.array]:
        if number in self._still[path]:
            return self._layers[path][number].start()
        return parameters[f"{path}/{number}/slope"], parameters[f"{path}/{number}/middle"]


class _Norm:
    def __init__(self, module: nn.Module, dtype: mx.Dtype, value: mx.array | None) -> None:
        self.module, self.dtype = module, dtype
        self._value = (module["weight"] if value is None else value).astype(mx.float32)
        self._step = NORM_STEP * mx.sqrt(mx.square(self._value).mean())
        self.shape = self._value.shape

    def stored(self, parameter: mx.array) -> mx.array:
        moved = self._value + self._step * parameter
        return moved + mx.stop_gradient(moved.astype(self.dtype).astype(mx.float32) - moved)


class _Once:
    """A weight that is decoded when it is first asked for."""

    def __init__(self, weigh: Weigh) -> None:
        self._weigh = weigh
        self._known: dict[int | None, mx.array] = {}

    def __call__(self, expert: int | None, rows: slice) -> mx.array:
        if expert not in self._known:
            self._known[expert] = self._weigh(expert, slice(None))
            mx.eval(self._known[expert])
        return self._known[expert][rows]


def _read(path: str, module: nn.Module, values: Values) -> list[Affine]:
    """A layer's codes with its scales and biases, one entry per expert or a single one."""
    matrix: Matrix = module._matrix
    assert matrix.packing and matrix.scales and matrix.biases
    count = max(1, expert_count(module))
    own = matrix.rows // count
    found = []
    for number in range(count):
        rows = number * own, (number + 1) * own
        parts = []
        for name, stored in (("scales", matrix.scales), ("biases", matrix.biases)):
            value = values.get(f"{path}.{name}")
            part = stored.read(*rows) if value is None else value
            parts.append(part[number] if part.ndim == 3 else part)
        found.append(Affine(unpack(matrix.weight.read(*rows), matrix.packing.bits), *parts))
        mx.eval(found[-1].codes, found[-1].scales, found[-1].biases)
    return found
