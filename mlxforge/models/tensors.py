"""The parameters of a model folder, to be read by rows instead of being loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from mlxforge.models.source import read_tensors, weight_files
from mlxforge.models.streaming.expression import Expression
from mlxforge.models.streaming.files import StoredTensors
from mlxforge.models.streaming.rows import Rows

if TYPE_CHECKING:
    from mlxforge.models.streaming.trace import Traced

__all__ = ["open_tensors", "rows_of", "trace_folder"]


def trace_folder(folder: Path) -> Traced:
    """The model of a folder as mlx_lm's loader makes it, no weight read.

    Raises what the loader raises, and ForgeError for files that are not whole.
    """
    from mlx_lm.utils import load_model

    from mlxforge.models.streaming.trace import trace_loading  # mlx.nn, which few need

    read_tensors(folder)
    files: dict[str, dict[str, mx.array]] = {
        path.name: mx.load(str(path))  # type: ignore[misc]
        for path in weight_files(folder)
    }
    return trace_loading(files, lambda: load_model(folder, lazy=True))


@contextmanager
def rows_of(folder: Path, parameters: Mapping[str, Expression]) -> Iterator[dict[str, Rows]]:
    """The parameters whose expressions are known already; files are open until the end."""
    stored = StoredTensors(read_tensors(folder))
    loader = _Loader(folder)
    try:
        yield {
            name: Rows(name, expression, stored, loader.parameter)
            for name, expression in parameters.items()
        }
    finally:
        stored.close()


def open_tensors(folder: Path) -> dict[str, Rows]:
    """The parameters of a folder by name; their files stay open until the process ends."""
    stored = StoredTensors(read_tensors(folder))
    loader = _Loader(folder)
    return {
        name: Rows(name, expression, stored, loader.parameter)
        for name, expression in trace_folder(folder).parameters.items()
    }


class _Loader:
    """Parameters as mlx_lm loads them, the last one kept: chunks of one follow each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._last: tuple[str, mx.array] | None = None

    def parameter(self, name: str) -> mx.array:
        from mlx.utils import tree_flatten
        from mlx_lm.utils import load_model

        with self._guard:
            if self._last is None or self._last[0] != name:
                self._last = None
                model, _ = load_model(self._folder, lazy=True)
                array = dict(tree_flatten(model.parameters()))[name]
                mx.eval(array)
                self._last = (name, array)
            return self._last[1]
