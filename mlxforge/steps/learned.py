"""What the steps have in common that learn from calibration how weights are best packed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.quantize import Quantize
from mlxforge.steps.source import Wants

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Learned"]

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

    def settings(self, section: type[Section]) -> Section:
        """Those of the step's fields that are the recipe's ``section``, a dataclass."""
        return section(**{field.name: getattr(self, field.name) for field in fields(section)})
