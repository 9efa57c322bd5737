"""What a config's model has and what the files hold, side by side.

The loader itself is asked: it runs on placeholders up to the point where it would put the tensors
into the model, after ``sanitize``. There both sides are known whole, and not only the first
difference that a loader trips over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxforge.models.source.trust import load_model
from mlxforge.models.streaming.trace import watched

__all__ = ["Comparison", "Shape", "by_number", "compare"]

Shape = tuple[int, ...]
Files = Mapping[str, Mapping[str, mx.array]]


@dataclass(frozen=True)
class Comparison:
    """Shapes by parameter: of the model that ``config.json`` describes, and in the files."""

    expected: Mapping[str, Shape]
    held: Mapping[str, Shape]

    @cached_property
    def missing(self) -> list[str]:
        return sorted(self.expected.keys() - self.held.keys(), key=by_number)

    @cached_property
    def extra(self) -> list[str]:
        return sorted(self.held.keys() - self.expected.keys(), key=by_number)

    @cached_property
    def unequal(self) -> list[str]:
        """Parameters whose shapes differ."""
        both = self.expected.keys() & self.held.keys()
        return sorted((n for n in both if self.expected[n] != self.held[n]), key=by_number)

    @property
    def differences(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.unequal)


class _Reached(Exception):
    """The loader came as far as it had to."""

    def __init__(self, found: Comparison) -> None:
        self.found = found


def compare(folder: Path, files: Files) -> Comparison:
    """``files``: placeholders, by file name, then tensor. Raises what the loader raises before it
    has a model and its tensors."""
    try:
        with watched(files), _caught():
            load_model(folder)
    except _Reached as reached:
        return reached.found
    raise RuntimeError("the loader never put weights into the model")


@contextmanager
def _caught() -> Iterator[None]:
    replaced = nn.Module.load_weights

    def load_weights(self: nn.Module, weights: Any, strict: bool = True) -> nn.Module:
        expected = {name: value.shape for name, value in tree_flatten(self.parameters())}
        raise _Reached(Comparison(expected, {name: value.shape for name, value in weights}))

    nn.Module.load_weights = load_weights
    try:
        yield
    finally:
        nn.Module.load_weights = replaced


def by_number(name: str) -> list[tuple[int, str]]:
    """Sorts parameters by block: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
