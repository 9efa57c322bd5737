"""The layer table: what a model is made of, as plain data that needs no MLX to be read.

Written once per source by the ``inspect`` step as ``layers.json``; planning, checking and
sizing read it from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxforge.models.layers.cache import CacheBytes
from mlxforge.quantize.scheme import Scheme

__all__ = ["DTYPE_BYTES", "Layer", "LayerTable", "Tensor"]

DTYPE_BYTES = {
    "bool_": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "bfloat16": 2,
    "uint32": 4, "int32": 4, "float32": 4, "uint64": 8, "int64": 8, "complex64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """``dtype`` is the source's, by MLX's name; ``casts`` is False where a cast must skip it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    casts: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def dtype_after(self, cast: str | None) -> str:
        """The dtype once the recipe's ``dtype`` was applied."""
        floating = self.dtype in ("float16", "bfloat16", "float32")
        return cast if cast and floating and self.casts else self.dtype


@dataclass(frozen=True)
class Layer:
    """A leaf module, or a single parameter that a module with children holds itself.

    Where the source packs the layer's weight, ``packed`` says how (bits, group_size, mode), and
    the weight in ``tensors`` is the one that it stands for. ``own_rule`` is what the
    architecture's own quant_predicate says of it: True, False, or the scheme that it insists on.
    It is True where the architecture has none. ``tied`` is the layer whose weight this one's is.
    """

    path: str
    kind: str
    role: str
    quantizable: bool
    own_rule: bool | Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    packed: Mapping[str, Any] | None = None
    tied: str | None = None

    @property
    def packed_scheme(self) -> Scheme | None:
        return Scheme(**self.packed) if self.packed else None

    @property
    def weight(self) -> Tensor:
        """The tensor that quantization packs: shape [..., output_dims, input_dims]."""
        return next(tensor for tensor in self.tensors if tensor.name == f"{self.path}.weight")

    @property
    def parameters(self) -> int:
        return sum(tensor.size for tensor in self.tensors)


@dataclass(frozen=True)
class LayerTable:
    """``dtype`` is the one that config.json declares, if it does. ``cache`` is what a context takes
    by the dtype of the activations (see ``layers.context``), None where it could not be told;
    ``positions`` is how many tokens the config allows."""

    model_type: str
    dtype: str | None
    layers: tuple[Layer, ...]
    cache: Mapping[str, CacheBytes] | None = None
    positions: int | None = None

    @property
    def vocabulary(self) -> int:
        """Rows of the largest embeddings; 0 where none are known."""
        found = (layer.weight.shape[-2] for layer in self.layers if layer.role == "embeddings")
        return max(found, default=0)

    def cast(self, asked: str | None) -> str | None:
        """The dtype that unquantized parameters get: the recipe's, else the declared one."""
        return asked or self.dtype

    def cache_bytes(self, asked: str | None) -> CacheBytes | None:
        """What a context takes where unquantized parameters have the dtype that was asked for."""
        if self.cache is None:
            return None
        tensors = [tensor for layer in self.layers for tensor in layer.tensors]
        dtype = self.cast(asked) or max(tensors, key=lambda tensor: tensor.size).dtype
        return self.cache["float32" if dtype == "float32" else "bfloat16"]

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> LayerTable:
        raw = json.loads(path.read_bytes())
        layers = tuple(
            Layer(
                **entry
                | {
                    "tensors": tuple(
                        Tensor(**tensor | {"shape": tuple(tensor["shape"])})
                        for tensor in entry["tensors"]
                    )
                }
            )
            for entry in raw["layers"]
        )
        cache = raw["cache"] and {k: CacheBytes.of(v["points"]) for k, v in raw["cache"].items()}
        return cls(raw["model_type"], raw["dtype"], layers, cache, raw["positions"])
