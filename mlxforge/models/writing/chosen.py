"""Packed weights that a method has chosen, on their way to the model that is made of them.

model-00007.safetensors   words, scales and biases of one layer, as they will stand in the model
chosen.json               which layers there are, and experts that were only rounded
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import mlx.core as mx

from mlxforge.models.source.files import read_tensors
from mlxforge.models.streaming.expression import Stored
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.streaming.tensors import LOADED, rows_of
from mlxforge.models.streaming.trace import dtype_name
from mlxforge.quantize.affine import Affine, pack

__all__ = ["Chosen", "ChosenWriter", "read_chosen"]

NAME = "chosen.json"
PARTS = ("weight", "scales", "biases")


class ChosenWriter:
    """Writes a file per layer, in the order in which they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layers: list[str] = []

    def __enter__(self) -> ChosenWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def add(self, path: str, entries: Sequence[Affine], bits: int) -> None:
        """One entry for a plain layer, one per expert for stacked ones."""
        words = [pack(entry.codes, bits) for entry in entries]
        parts = (words, [entry.scales for entry in entries], [entry.biases for entry in entries])
        arrays = {
            f"{path}.{name}": found[0] if len(found) == 1 else mx.stack(found)
            for name, found in zip(PARTS, parts, strict=True)
        }
        self._layers.append(path)
        file = self._folder / f"model-{len(self._layers):05d}.safetensors"
        mx.save_safetensors(str(file), arrays)

    def finish(self, unknown: Mapping[str, list[int]]) -> None:
        document = {"layers": self._layers, "experts_without_calibration": dict(unknown)}
        (self._folder / NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Chosen:
    """``rows`` by tensor name; ``unknown``: experts that were only rounded, by layer."""

    layers: frozenset[str]
    rows: Mapping[str, Rows]
    unknown: Mapping[str, list[int]]

    def read(self, path: str, start: int, stop: int) -> tuple[mx.array, ...]:
        """Rows of a layer's words, scales and biases; those of experts follow each other."""
        return tuple(self.rows[f"{path}.{part}"].read(start, stop) for part in PARTS)


@contextmanager
def read_chosen(folder: Path) -> Iterator[Chosen]:
    document = json.loads((folder / NAME).read_bytes())
    stored = {
        name: Stored(name, info.shape, dtype_name(LOADED[info.dtype]))
        for name, (_, info) in read_tensors(folder).items()
    }
    with rows_of(folder, stored) as rows:
        unknown = document["experts_without_calibration"]
        yield Chosen(frozenset(document["layers"]), rows, unknown)
