"""What a method has chosen, block by block: a killed run goes on behind its last whole block.

block-00003.json   the layers and tensors of a block in the order in which they were chosen, and
                   what the method tells of them; written when the block is done
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.scoring.leaves.fixed import fix_tensor, fix_weight, has_matrix
from mlxforge.models.writing.chosen import ChosenWriter
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.moved import Moved
from mlxforge.quantize.scheme import Scheme
from mlxforge.store.sync import replaced

__all__ = ["Journal", "keep_heads"]


def keep_heads(
    heads: Mapping[str, Affine],
    schemes: Mapping[str, Scheme],
    modules: Mapping[str, nn.Module],
    writer: ChosenWriter,
) -> None:
    """What was chosen before the first block, by path: kept, and used from now on."""
    for path, entry in sorted(heads.items()):
        if writer.recall(path, schemes[path]) is None:
            writer.add(path, [entry], schemes[path].bits)
        if path in modules and has_matrix(modules[path]):
            fix_weight(modules[path], [entry])


class Journal:
    """``writer`` keeps what is chosen in ``kept``, and the journal beside it. ``schemes``: of the
    layers that are quantized, by path; ``modules`` are those of the model that goes on with it."""

    def __init__(
        self,
        writer: ChosenWriter,
        kept: Path,
        schemes: Mapping[str, Scheme],
        modules: Mapping[str, nn.Module],
    ) -> None:
        self._writer = writer
        self._kept = kept
        self._schemes = schemes
        self._modules = modules
        self._order: list[str] = []

    def add(
        self, path: str, entries: Sequence[Affine], unknown: Sequence[int], moved: Moved
    ) -> None:
        """A layer's codes, one entry per expert where there are any; ``unknown``: experts that
        were only rounded; ``moved``: the scales that the weight was given before."""
        self._writer.add(path, entries, self._schemes[path].bits, unknown, moved)
        self._order.append(path)

    def add_tensor(self, name: str, value: mx.array) -> None:
        """A tensor that is not quantized and has changed."""
        self._writer.add_tensor(name, value)
        self._order.append(name)

    def close(self, block: int, notes: Any) -> None:
        """All of a block was added; ``notes`` are JSON-plain."""
        with replaced(self._file(block)) as staged:
            staged.write_text(json.dumps({"order": self._order, "notes": notes}))
        self._order = []

    def recall(self, block: int) -> Any:
        """Take up what a run before this one chose for a block; its notes, None where not all of
        the block is there."""
        file = self._file(block)
        if not file.is_file():
            return None
        document = json.loads(file.read_bytes())
        if not self._writer.holds(document["order"]):
            return None
        for name in document["order"]:
            self._take_up(name)
        return document["notes"]

    def _take_up(self, name: str) -> None:
        """Of what the writer holds."""
        if name in self._schemes:
            entries = self._writer.recall(name, self._schemes[name])
            assert entries is not None
            fix_weight(self._modules[name], entries)
        else:
            value = self._writer.recall_tensor(name)
            assert value is not None
            fix_tensor(self._modules, name, value)

    def _file(self, block: int) -> Path:
        return self._kept / f"block-{block:05d}.json"
