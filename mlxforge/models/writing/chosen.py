"""Tensors that a method has chosen, on their way to the model that is made of them.

model-00007.safetensors   words, scales and biases of one layer, as they will stand in the model,
                          or a tensor that stays as it is in kind and changed in value
chosen.json               which they are, experts that were only rounded, and what the method tells
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.models.saved import load_saved
from mlxforge.models.source.files import read_tensors
from mlxforge.models.streaming.expression import Stored
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.streaming.tensors import LOADED, rows_of
from mlxforge.models.streaming.trace import dtype_name
from mlxforge.quantize.affine import Affine, pack, unpack
from mlxforge.quantize.moved import UNMOVED, Moved
from mlxforge.quantize.scheme import Scheme
from mlxforge.store.sync import replaced

__all__ = ["UNKNOWN", "UNTOLD", "Chosen", "ChosenWriter", "read_chosen"]

NAME = "chosen.json"
PARTS = ("weight", "scales", "biases")
UNKNOWN = "experts_without_calibration"
UNTOLD = "without_calibration"
NOTHING: Mapping[str, Any] = {}


class ChosenWriter:
    """Writes a file per layer, in the order in which they come, and ``chosen.json`` in the end.

    Files are made in ``kept``, where there is such a folder, each whole or not there, and found
    again by the next writer that asks for the same layers in the same order.
    """

    def __init__(self, folder: Path, kept: Path | None = None) -> None:
        self._folder = folder
        self._kept = kept or folder
        self._files = 0
        self._layers: list[str] = []
        self._tensors: list[str] = []
        self._unknown: dict[str, list[int]] = {}

    def recall(self, path: str, scheme: Scheme) -> list[Affine] | None:
        """What was added for the layer before the step was killed; if so, it counts as added."""
        arrays, about = self._next()
        if f"{path}.scales" not in arrays:  # of another order of layers
            return None
        self._files += 1
        self._layers.append(path)
        if unknown := json.loads(about[UNKNOWN]):
            self._unknown[path] = unknown
        words, scales, biases = (arrays[f"{path}.{name}"] for name in PARTS)
        if words.ndim == 2:
            return [Affine(unpack(words, scheme.bits), scales, biases)]
        return [
            Affine(unpack(words[number], scheme.bits), scales[number], biases[number])
            for number in range(len(words))
        ]

    def add(
        self,
        path: str,
        entries: Sequence[Affine],
        bits: int,
        unknown: Sequence[int] = (),
        moved: Moved = UNMOVED,
    ) -> None:
        """One entry for a plain layer, one per expert for stacked ones; ``unknown`` are experts
        that were only rounded, ``moved`` the scales that the weight had been given before."""
        words = [pack(entry.codes, bits) for entry in entries]
        parts = (words, [entry.scales for entry in entries], [entry.biases for entry in entries])
        arrays = {
            f"{path}.{name}": found[0] if len(found) == 1 else mx.stack(found)
            for name, found in zip(PARTS, parts, strict=True)
        }
        arrays |= {f"{path}.{name}": mx.array(value) for name, value in moved.arrays().items()}
        self._layers.append(path)
        if unknown:
            self._unknown[path] = list(unknown)
        self._write(arrays, unknown)

    def add_packed(self, path: str, parts: Sequence[mx.array]) -> None:
        """Words, scales and biases of a layer, as they will stand in the model."""
        names = (f"{path}.{name}" for name in PARTS)
        self._layers.append(path)
        self._write(dict(zip(names, parts, strict=True)))

    def add_tensor(self, name: str, value: mx.array) -> None:
        """A tensor that is not quantized, such as the weight of a norm, with another value."""
        self._tensors.append(name)
        self._write({name: value})

    def recall_tensor(self, name: str) -> mx.array | None:
        """As ``recall``, of what ``add_tensor`` was given."""
        arrays, _ = self._next()
        if name not in arrays:
            return None
        self._files += 1
        self._tensors.append(name)
        return arrays[name]

    def holds(self, names: Sequence[str]) -> bool:
        """Whether a run before this one added these next: layers by their paths, or tensors."""
        for number, name in enumerate(names, start=self._files + 1):
            arrays, _ = self._saved(number)
            if name not in arrays and f"{name}.scales" not in arrays:
                return False
        return True

    def _next(self) -> tuple[dict[str, mx.array], dict[str, str]]:
        """The next file of a run before this one, if there is one, and what it says of itself."""
        return self._saved(self._files + 1)

    def _saved(self, number: int) -> tuple[dict[str, mx.array], dict[str, str]]:
        file = self._file(number)
        return load_saved(file) if file.is_file() else ({}, {})

    def _write(self, arrays: dict[str, mx.array], unknown: Sequence[int] = ()) -> None:
        self._files += 1
        about = {UNKNOWN: json.dumps(list(unknown))}
        with replaced(self._file(self._files)) as staged:
            mx.save_safetensors(str(staged), arrays, metadata=about)

    def _file(self, number: int) -> Path:
        return self._kept / f"model-{number:05d}.safetensors"

    def finish(
        self,
        unknown: Mapping[str, list[int]] = NOTHING,
        notes: Mapping[str, Any] = NOTHING,
        untold: Collection[str] = (),
    ) -> None:
        """``unknown``: experts that were only rounded, by layer; ``untold``: layers that were;
        ``notes``: JSON-plain."""
        if self._kept != self._folder:
            for number in range(1, self._files + 1):
                _put(self._file(number), self._folder)
        document = {
            "layers": self._layers,
            "tensors": self._tensors,
            UNKNOWN: self._unknown | dict(unknown),
            **({UNTOLD: sorted(untold)} if untold else {}),
            "notes": dict(notes),
        }
        (self._folder / NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def _put(file: Path, folder: Path) -> None:
    """``file`` into ``folder``, and kept: until it is published, all of that may be lost yet."""
    try:
        os.link(file, folder / file.name)
    except OSError:  # a file system without links
        shutil.copyfile(file, folder / file.name)


@dataclass(frozen=True)
class Chosen:
    """``rows`` by tensor name; ``tensors``: names of those that are not quantized; ``unknown``:
    experts that were only rounded, by layer; ``untold``: layers that were; ``notes``: what the
    method tells."""

    layers: frozenset[str]
    tensors: frozenset[str]
    rows: Mapping[str, Rows]
    unknown: Mapping[str, list[int]]
    untold: frozenset[str]
    notes: Mapping[str, Any]

    def read(self, path: str, start: int, stop: int) -> tuple[mx.array, ...]:
        """Rows of a layer's words, scales and biases; those of experts follow each other."""
        return tuple(self.rows[f"{path}.{part}"].read(start, stop) for part in PARTS)

    def codes(self, path: str, bits: int) -> Affine:
        """Of a layer without experts, in so many ``bits``."""
        words, scales, biases = (self.rows[f"{path}.{part}"].read_all() for part in PARTS)
        return Affine(unpack(words, bits), scales, biases)

    def moved(self) -> dict[str, Moved]:
        """By layer the scales that it was given before it was rounded, where it was given some."""
        found: dict[str, Moved] = {}
        for path in self.layers:
            names = {name: self.rows.get(f"{path}.{name}") for name in ("rows", "columns")}
            arrays = {name: np.array(v.read_all()) for name, v in names.items() if v is not None}
            if arrays:
                found[path] = Moved.of(arrays)
        return found


@contextmanager
def read_chosen(folder: Path) -> Iterator[Chosen]:
    document = json.loads((folder / NAME).read_bytes())
    stored = {
        name: Stored(name, info.shape, dtype_name(LOADED[info.dtype]))
        for name, (_, info) in read_tensors(folder).items()
    }
    with rows_of(folder, stored) as rows:
        yield Chosen(
            frozenset(document["layers"]), frozenset(document["tensors"]), rows,
            document[UNKNOWN], frozenset(document.get(UNTOLD, ())), document["notes"],
        )  # fmt: skip
