"""How large the result is, to the byte, from the layer table alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlxforge.models.layers.assign import Assignment
from mlxforge.models.layers.table import DTYPE_BYTES, Tensor
from mlxforge.quantize.scheme import Scheme

__all__ = ["ModelSize", "assignment_bytes", "model_size"]


@dataclass(frozen=True)
class ModelSize:
    """``parameters`` counts the source's numbers, packed or not; ``bytes`` the result's tensors."""

    bytes: int
    parameters: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / self.parameters


def assignment_bytes(assignment: Assignment, cast: str | None) -> int:
    """Bytes of one layer's tensors in the result, file headers not counted."""
    total = 0
    for tensor in assignment.layer.tensors:
        if assignment.scheme and tensor.name == f"{assignment.layer.path}.weight":
            total += _packed_bytes(tensor, assignment.scheme, cast)
        else:
            total += tensor.size * DTYPE_BYTES[tensor.dtype_after(cast)]
    return total


def _packed_bytes(weight: Tensor, scheme: Scheme, cast: str | None) -> int:
    groups = weight.size // scheme.group_size
    # affine: a scale and a bias in the weight's dtype; the other modes: one 8-bit scale
    per_group = 2 * DTYPE_BYTES[weight.dtype_after(cast)] if scheme.mode == "affine" else 1
    return weight.size * scheme.bits // 8 + groups * per_group


def model_size(assignments: Iterable[Assignment], cast: str | None) -> ModelSize:
    entries = list(assignments)
    return ModelSize(
        sum(assignment_bytes(entry, cast) for entry in entries),
        sum(entry.layer.parameters for entry in entries),
    )
