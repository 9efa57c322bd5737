"""What was decided about one layer."""

from __future__ import annotations

from dataclasses import dataclass

from mlxforge.errors import Position
from mlxforge.models.layers.table import Layer
from mlxforge.quantize.scheme import Scheme

__all__ = ["Assignment"]


@dataclass(frozen=True)
class Assignment:
    """What becomes of a layer (``scheme`` None: stays as it is) and what decided that.

    ``guard`` is the protection that decided otherwise than rules and default would have: a role,
    ``architecture``, or ``tied``; None where none did.
    """

    layer: Layer
    scheme: Scheme | None
    reason: str
    at: Position | None = None
    guard: str | None = None
