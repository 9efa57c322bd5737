"""The parameters of a model folder, to be read by rows instead of being loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from mlxforge.errors import ForgeError
from mlxforge.models.source.files import read_tensors, weight_files
from mlxforge.models.source.trust import load_model
from mlxforge.models.streaming.expression import Expression
from mlxforge.models.streaming.files import StoredTensors
from mlxforge.models.streaming.rows import Rows

LOADED = {
    "BOOL": mx.bool_, "U8": mx.uint8, "I8": mx.int8, "F8_E4M3": mx.uint8, "F8_E8M0": mx.uint8,
    "U16": mx.uint16, "I16": mx.int16, "F16": mx.float16, "BF16": mx.bfloat16,
    "U32": mx.uint32, "I32": mx.int32, "F32": mx.float32,
    "U64": mx.uint64, "I64": mx.int64, "C64": mx.complex64,
}  # fmt: skip
"""What ``mx.load`` makes of a safetensors dtype."""
KEPT = 4  # parameters that only the loader can compute
RECENT = 16  # expressions that were parsed

if TYPE_CHECKING:
    from mlxforge.models.streaming.trace import Traced

__all__ = ["open_tensors", "placeholders", "rows_of", "trace_folder"]


def trace_folder(folder: Path) -> Traced:
    """The model of a folder as mlx_lm's loader makes it, no weight read.

    The folder may be one of heads (see mlxforge.models.source.headers). Raises what the loader
    raises, and ForgeError for files that are not whole.
    """
    from mlxforge.models.streaming.trace import trace_loading  # mlx.nn, which few need

    return trace_loading(placeholders(folder), lambda: load_model(folder))


def placeholders(folder: Path) -> dict[str, dict[str, mx.array]]:
    """Zeros in the place of every tensor of a folder, by file name, then tensor; none computed."""
    files: dict[str, dict[str, mx.array]] = {path.name: {} for path in weight_files(folder)}
    for name, (path, info) in read_tensors(folder).items():
        if info.dtype not in LOADED:
            raise ForgeError(
                f"{path}: tensor {name!r} is {info.dtype}, which MLX cannot load",
                "use a source in bfloat16, float16 or float32",
            )
        files[path.name][name] = mx.zeros(info.shape, dtype=LOADED[info.dtype])
    return files


@contextmanager
def rows_of(folder: Path, parameters: Mapping[str, Expression]) -> Iterator[Mapping[str, Rows]]:
    """The parameters whose expressions are known already; files are open until the end."""
    stored = StoredTensors(read_tensors(folder))
    try:
        yield _ByName(parameters, stored, _Loader(folder))
    finally:
        stored.close()


class _ByName(Mapping[str, Rows]):
    """Rows that are made when they are asked for: a large model has very many."""

    def __init__(
        self, parameters: Mapping[str, Expression], stored: StoredTensors, loader: _Loader
    ) -> None:
        self._parameters = parameters
        self._rows = lru_cache(maxsize=RECENT)(
            lambda name: Rows(name, parameters[name], stored, loader.parameter)
        )

    def __getitem__(self, name: str) -> Rows:
        return self._rows(name)

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def open_tensors(folder: Path) -> dict[str, Rows]:
    """The parameters of a folder by name; their files stay open until the process ends."""
    stored = StoredTensors(read_tensors(folder))
    loader = _Loader(folder)
    return {
        name: Rows(name, expression, stored, loader.parameter)
        for name, expression in trace_folder(folder).parameters.items()
    }


class _Loader:
    """Parameters as mlx_lm loads them, each evaluated once; the last few are kept, because pieces
    of a weight, its scales and its biases are asked for in turn."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._lazy: dict[str, mx.array] = {}
        self._last: OrderedDict[str, mx.array] = OrderedDict()

    def parameter(self, name: str) -> mx.array:
        with self._guard:
            if name not in self._last:
                if name not in self._lazy:
                    self._lazy = self._load()
                array = self._lazy.pop(name)
                mx.eval(array)
                self._last[name] = array
                while len(self._last) > KEPT:
                    self._last.popitem(last=False)
            return self._last[name]

    def _load(self) -> dict[str, mx.array]:
        from mlx.utils import tree_flatten

        model, _ = load_model(self._folder)
        return dict(tree_flatten(model.parameters()))
