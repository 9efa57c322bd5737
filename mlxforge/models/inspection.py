"""What the ``inspect`` step finds out about a source, as files that need no mlx_lm to be used.

layers.json      the layer table (see ``layers``)
parameters.json  parameter -> how it comes out of the stored tensors (``streaming.expression``)
config.json      the config that an unquantized build of the model gets
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlxforge.models.layers import LayerTable
from mlxforge.models.streaming.expression import Expression, from_json, to_json

__all__ = ["Inspection", "write_parameters"]


@dataclass(frozen=True)
class Inspection:
    """The artifact of ``inspect`` in ``folder``."""

    folder: Path

    @cached_property
    def table(self) -> LayerTable:
        return LayerTable.load(self.folder / "layers.json")

    def parameters(self) -> dict[str, Expression]:
        raw = json.loads((self.folder / "parameters.json").read_bytes())
        return {name: from_json(entry) for name, entry in raw.items()}


def write_parameters(parameters: Mapping[str, Expression], folder: Path) -> None:
    written = {name: to_json(entry) for name, entry in parameters.items()}
    (folder / "parameters.json").write_text(json.dumps(written, sort_keys=True) + "\n")
