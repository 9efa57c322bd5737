"""What the ``inspect`` step finds out about a source, as files that need no mlx_lm to be used.

    layers.json      the layer table (see ``layers``)
    parameters.tsv   parameter -> how it comes out of the stored tensors (``streaming.expression``)
    config.json      the config that an unquantized build of the model gets

``parameters.tsv`` begins with a line of all constants, as a JSON list; then comes a line per
parameter: its name as JSON, a tab, its expression as JSON. Large models have tens of thousands of
tensors: a line is parsed when its parameter is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlxforge.models.layers.table import LayerTable
from mlxforge.models.streaming.expression import Constant, Expression, from_json, to_json

__all__ = ["Inspection", "Parameters", "write_parameters"]

NAME = "parameters.tsv"


class Parameters(Mapping[str, Expression]):
    """The expressions in a file, parsed one by one; not kept."""

    def __init__(self, file: Path) -> None:
        first, *lines = file.read_bytes().splitlines()
        self._constants = [from_json(raw, ()) for raw in json.loads(first)]
        self._lines = {json.loads(name): rest for name, _, rest in
                       (line.partition(b"\t") for line in lines)}  # fmt: skip

    def __getitem__(self, name: str) -> Expression:
        return from_json(json.loads(self._lines[name]), self._constants)

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@dataclass(frozen=True)
class Inspection:
    """The artifact of ``inspect`` in ``folder``."""

    folder: Path

    @cached_property
    def table(self) -> LayerTable:
        return LayerTable.load(self.folder / "layers.json")

    def parameters(self) -> Parameters:
        return Parameters(self.folder / NAME)


def write_parameters(parameters: Mapping[str, Expression], folder: Path) -> None:
    constants: dict[int, tuple[int, Constant]] = {}
    lines = [
        f"{json.dumps(name)}\t{json.dumps(to_json(entry, constants), sort_keys=True)}"
        for name, entry in sorted(parameters.items())
    ]
    pool = [to_json(constant, None) for _, constant in constants.values()]
    (folder / NAME).write_text("\n".join([json.dumps(pool), *lines]) + "\n")
