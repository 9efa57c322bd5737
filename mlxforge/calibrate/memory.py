"""Whether what a method has to hold while it learns fits the memory, told before it begins."""

from __future__ import annotations

from mlxforge.calibrate.hessians import experts_at_once
from mlxforge.errors import ForgeError
from mlxforge.models.layers.table import LayerTable
from mlxforge.units import readable_bytes

__all__ = ["check_room", "learning_bytes"]

STATES = 2  # of the model and of its source
WITH_DRIFT = 2  # sums of a plain layer
FACTORS = 4  # a Hessian beside its copies on their way to a factor
COPIES = 6  # of a layer's weights, in float32


def learning_bytes(table: LayerTable, tokens: int) -> int:
    """The states of every window, and what the largest layer takes: sums of products of its
    inputs, for each expert, in float64; their factor; and its weights."""
    return _states_bytes(table, tokens) + _layer_bytes(table)


def check_room(method: str, table: LayerTable, samples: int, length: int, free: int) -> None:
    """ForgeError where that is more than the ``free`` bytes, with the samples that would fit."""
    needed = learning_bytes(table, samples * length)
    if needed <= free:
        return
    one = max(1, _states_bytes(table, length))
    fitting = (free - _layer_bytes(table)) // one
    raise ForgeError(
        f"{method} needs about {readable_bytes(needed)} of memory for {samples} samples of "
        f"{length} tokens, and {readable_bytes(free)} are free",
        f"calibrate: {{samples: {fitting}}} fits" if fitting > 0 else
        "its widest layer alone does not fit: use method: rtn with scales: search, or free memory",
    )  # fmt: skip


def _states_bytes(table: LayerTable, tokens: int) -> int:
    layers = [layer for layer in table.layers if layer.quantizable]
    width = max((e.weight.shape[-1] for e in layers if e.role == "embeddings"), default=0)
    return 4 * tokens * width * STATES


def _layer_bytes(table: LayerTable) -> int:
    largest = 0
    for layer in table.layers:
        if layer.quantizable:
            *experts, rows, columns = layer.weight.shape
            count = experts[0] if experts else 1
            sums = experts_at_once(count, columns) if experts else WITH_DRIFT
            hessians = 8 * columns * columns * (sums + FACTORS)
            largest = max(largest, hessians + 4 * rows * columns * COPIES)
    return largest
