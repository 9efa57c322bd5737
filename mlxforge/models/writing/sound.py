"""A look at all weights before a method works on them, for hours maybe."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mlxforge.models.layers.assign import Assignment
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.streaming.tensors import rows_of
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.models.writing.pieces import layer_stripes

__all__ = ["check_weights"]


def check_weights(
    source: Path, inspection: Inspection, assignments: Iterable[Assignment], dtype: str | None
) -> None:
    """Raise ForgeError, as writing the model would in the end, where a tensor of these layers has
    NaN or infinity once it is cast to ``dtype``. Reads each of them once, on all cores."""
    with rows_of(source, inspection.parameters()) as parameters:
        stripes = (
            stripe
            for entry in assignments
            for stripe in layer_stripes(replace(entry, scheme=None), dtype, parameters)
        )
        jobs = (job for stripe in stripes for job in stripe.jobs())
        deque(in_order(jobs, workers()), maxlen=0)
