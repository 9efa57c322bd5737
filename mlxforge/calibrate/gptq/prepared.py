"""Scales that awq has moved between layers, given to a model before its codes are chosen: it still
computes what it did, by weights that lose less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlxforge.models.scoring.leaves.fixed import fix_tensor
from mlxforge.models.scoring.leaves.scaled import scale_weight
from mlxforge.models.writing.chosen import ChosenWriter, read_chosen
from mlxforge.quantize.moved import Moved

__all__ = ["Prepared"]


@dataclass(frozen=True)
class Prepared:
    """``moved``: the scales of layers, by path; ``tensors``: those that are not quantized and have
    changed, by name; ``notes``: what is told of both."""

    moved: Mapping[str, Moved] = field(default_factory=dict)
    tensors: Mapping[str, mx.array] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        """Of what awq has chosen all but the codes."""
        with read_chosen(folder) as chosen:
            tensors = {name: chosen.rows[name].read_all() for name in sorted(chosen.tensors)}
            mx.eval(tensors)
            return cls(chosen.moved(), tensors, chosen.notes)

    def give(self, model: nn.Module, dtypes: Mapping[str, mx.Dtype]) -> None:
        """``dtypes``: to what the weight of each layer is cast before."""
        modules = dict(getattr(model, "whole", model).named_modules())
        for name, value in self.tensors.items():
            fix_tensor(modules, name, value)
        for path, moved in self.moved.items():
            scale_weight(modules[path], moved, dtypes[path])

    def keep(self, writer: ChosenWriter) -> None:
        """The tensors, before anything else is added."""
        for name, value in self.tensors.items():
            if writer.recall_tensor(name) is None:
                writer.add_tensor(name, value)
