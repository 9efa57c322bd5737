"""What a method has to hold in memory while it learns, counted from the table of layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlxforge.calibrate.hessians import (
    drift_bytes,
    experts_at_once,
    factors,
    hessian_bytes,
)
from mlxforge.calibrate.windows import held_out_of
from mlxforge.models.device import backend
from mlxforge.models.layers.table import Layer, LayerTable
from mlxforge.models.writing.parallel import cores

__all__ = ["NEEDS", "Need", "learning_bytes", "shelf_bytes", "states_bytes"]

PACKED = 5  # bytes for each code, while words are made of them
VOCABULARY = 8  # bytes for each weight of heads and embeddings: in float32, its code, and packed
COPIES = 6  # of a layer's weights, in float32
SUMS = 2 * 16  # bytes for each input: two sums in double precision, and a copy of them
TRAINED = 4  # bytes for each weight of a block: its code, and parameters, moments, anchor by group
PROBED = 2  # bytes for each weight of a block: its words at 3 and at 2 bits, twice
DECODED = 12  # bytes for each, on each core: the weights, their gradient, one in the making
MOMENTS = 4  # of a head's inputs, as they are and in the measure of embeddings, and two factors
SHELF, TOGETHER = 16 << 20, 640 << 20  # bytes: of a shelf at least, with the rest at most
ENDS = ("lm_head", "embeddings")
BLOCK = re.compile(r".*?\.\d+\.")


def learning_bytes(kind: str, table: LayerTable, samples: int, length: int) -> int:
    """What the step ``kind`` will not take more than, where the disk has room for states."""
    need = NEEDS[kind]
    lanes = (cores() - 1) * need.lane(table) if backend() == "cpu" else 0
    shelf = shelf_bytes(kind, table)
    if not need.outputs:
        shelf = min(shelf, states_bytes(kind, table, samples, length))
    return need.bytes(table) + lanes + shelf


def shelf_bytes(kind: str, table: LayerTable) -> int:
    """Of what the step ``kind`` puts on a shelf so much is in memory, the rest on disk."""
    return max(SHELF, TOGETHER - NEEDS[kind].bytes(table))


def states_bytes(kind: str, table: LayerTable, samples: int, length: int) -> int:
    """Of what so many windows are between two blocks of the step ``kind``, with those held out
    where it has them too."""
    need = NEEDS[kind]
    windows = samples + need.held_out * held_out_of(samples)
    return 4 * windows * length * _width(table) * need.models


def _width(table: LayerTable) -> int:
    """Of a state."""
    return max((e.weight.shape[-1] for e in _layers(table) if e.role == "embeddings"), default=0)


def _layers(table: LayerTable) -> list[Layer]:
    return [layer for layer in table.layers if layer.quantizable]


def _hessians(table: LayerTable) -> int:
    """Of the widest layer: sums of products of its inputs, for each expert; a factor of them; and
    its weights."""
    largest, width = _head_codes(table), _width(table)
    for layer in _layers(table):
        *experts, rows, columns = layer.weight.shape
        held = rows * columns * _each(layer)
        if layer.role != "embeddings":  # what they are given are tokens
            count = experts_at_once(experts[0], columns) if experts else 1
            held += (count + factors(columns)) * hessian_bytes(columns)
            if not experts:  # what gives states may be added to them
                added = rows == width and layer.role not in ENDS
                held += max(drift_bytes(columns, rows, residual) for residual in {False, added})
        largest = max(largest, held)
    return largest + _vocabulary_codes(table)


def _scaled(table: LayerTable) -> int:
    """Of the largest layer whose columns are scaled, or whose codes are handed on as they are."""
    sizes = (int(np.prod(layer.weight.shape[-2:])) * _each(layer) for layer in _layers(table))
    return max(sizes, default=0) + _vocabulary_codes(table)


def _each(layer: Layer) -> int:
    """Bytes for each weight while it is rounded; the vocabulary is, a few rows at a time."""
    return VOCABULARY if layer.role in ENDS else 4 * COPIES


def _vocabulary_codes(table: LayerTable) -> int:
    """Which stay in memory while the layers between are chosen: a byte each."""
    return sum(int(np.prod(layer.weight.shape)) for layer in _ends(table))


def _probed(table: LayerTable) -> int:
    """Of the block with most weights, at two widths, and while they are put together; and of the
    largest layer between, or one expert's, as float32."""
    between = (layer for layer in _layers(table) if layer.role not in ENDS)
    sizes = (layer.weight.shape[-2] * layer.weight.shape[-1] for layer in between)
    return PROBED * _block_weights(table) + 4 * max(sizes, default=0)


def _sums(table: LayerTable) -> int:
    """Of squares and of values of what comes into every layer and expert, and the same once more
    while they are kept; and of products of what comes into heads, be they layers of their own or
    embeddings."""
    inputs = sum(int(np.prod(e.weight.shape)) // e.weight.shape[-2] for e in _layers(table))
    return SUMS * inputs + sum(8 * head.weight.shape[-1] ** 2 for head in _ends(table))


def _head_codes(table: LayerTable) -> int:
    """Of the largest head: the moments of its inputs, their factor, and its codes while they are
    packed."""
    sizes = (head.weight.shape[-2:] for head in _ends(table))
    return max((8 * n * n * MOMENTS + PACKED * m * n for m, n in sizes), default=0)


def _ends(table: LayerTable) -> list[Layer]:
    return [layer for layer in _layers(table) if layer.role in ENDS]


def _trained(table: LayerTable) -> int:
    """Of the largest block, on one core."""
    return (TRAINED + DECODED) * _block_weights(table)


def _lane(table: LayerTable) -> int:
    """Of the largest block, on each further core."""
    return DECODED * _block_weights(table)


def _none(table: LayerTable) -> int:
    return 0


def _block_weights(table: LayerTable) -> int:
    """How many the block with most of them has, or the head behind the last one."""
    sizes: Counter[str] = Counter()
    layers = _layers(table)
    untied = any(layer.role == "lm_head" for layer in layers)
    for layer in layers:
        within = BLOCK.match(layer.path)
        if layer.role != "embeddings" or not untied:
            sizes[within.group() if within else layer.path] += int(np.prod(layer.weight.shape))
    return max(sizes.values(), default=0)


@dataclass(frozen=True)
class Need:
    """``bytes`` that a step holds besides states, for ``what``; ``instead``: what takes less; how
    many ``models`` have states; whether ``outputs`` of layers are beside them, and windows that are
    ``held_out``; ``lane``: bytes for each core of a CPU but one, as far as there is room."""

    bytes: Callable[[LayerTable], int]
    what: str
    instead: str = "use method: rtn with scales: search"
    models: int = 1
    outputs: bool = False
    held_out: bool = False
    lane: Callable[[LayerTable], int] = _none


PLAINER = "use method: rtn with scales: minmax"
WITHOUT = "leave refine: dwq out, or take rtn in the place of method: dwq"
NEEDS = {
    "calibrate": Need(_sums, "its sums", PLAINER),
    "heads": Need(_head_codes, "its largest head", PLAINER, models=0),
    "awq": Need(_scaled, "its largest layer", outputs=True),
    "gptq": Need(_hessians, "its widest layer alone", models=2, outputs=True),
    "dwq": Need(_trained, "its largest block", WITHOUT, models=2, held_out=True, lane=_lane),
    "sensitivity": Need(_probed, "its largest block"),
}
"""By the kinds of the steps."""
