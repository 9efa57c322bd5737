"""What the steps have in common that learn from calibration how weights are best packed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar, Unpack

from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.quantize import Quantize
from mlxforge.steps.source import Wants

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from mlxforge.models.layers.assign import Assignment
    from mlxforge.models.layers.table import LayerTable

__all__ = ["Learned"]

Decided: TypeAlias = "tuple[LayerTable, tuple[Assignment, ...]]"
Section = TypeVar("Section", bound="DataclassInstance")


@dataclass(frozen=True)
class Learned(Quantize):
    """``source``, ``layers``, ``calibration`` and what else a subclass names -> what it chose, of
    which ``quantize`` makes the model. Fields of its own are those of the recipe's section that
    has its ``kind`` for a name."""

    version = 1
    blas = True
    one_blas_thread = True
    large_pages = False
    checkpoints = True

    @classmethod
    def of(cls, wanted: Wanted, **wants: Unpack[Wants]) -> Self:
        step = super().of(cls.shared(wanted), **wants)
        section = getattr(wanted, cls.kind, None)
        return step if section is None else replace(step, **vars(section))

    @classmethod
    def shared(cls, wanted: Wanted) -> Wanted:
        """The same for all recipes for which the step does the same: whatever else they do with
        the weights, these are chosen alike."""
        return replace(wanted, method=cls.kind, scales="search", prepare="none", refine="none")

    def decide(self, inputs: Mapping[str, Path], roles: Collection[str] = ()) -> Decided:
        """What is to become of each layer; of those of the ``roles``, or of all, the weights have
        been looked at: NaN and infinity, unless they are allowed, raise ForgeError before any of
        the step's work is done."""
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.writing.sound import check_weights

        inspection = Inspection(inputs["layers"])
        table = inspection.table
        assignments = assign(table, self.wanted())
        if not self.allow_nonfinite:
            mine = [entry for entry in assignments if not roles or entry.layer.role in roles]
            check_weights(inputs["source"], inspection, mine, table.cast(self.dtype))
        return table, assignments

    def settings(self, section: type[Section]) -> Section:
        """Those of the step's fields that are the recipe's ``section``, a dataclass."""
        return section(**{field.name: getattr(self, field.name) for field in fields(section)})
