"""What the steps that read a model have in common: who loads it, and what a recipe wants of its
source besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from mlxforge.models.source.loader import Loader
from mlxforge.steps.base import Step

__all__ = ["SourceStep", "Wants"]


class Wants(TypedDict, total=False):
    """What a recipe wants of its source besides: the fields of a SourceStep."""

    files: tuple[str, ...]
    remote_code: tuple[str, ...]
    loader: Loader


@dataclass(frozen=True, kw_only=True)
class SourceStep(Step):
    """``files`` are names of further files of the source that belong to the model, and
    ``remote_code`` those of its Python files that may run (see mlxforge.steps.remote_code).
    ``loader`` is the library that makes the model of its files."""

    files: tuple[str, ...] = ()
    remote_code: tuple[str, ...] = ()
    loader: Loader = "mlx_lm"

    def parameters(self) -> dict[str, Any]:
        """Where a recipe wants nothing further of a model that reads text alone, as they were
        before it could; so are the keys."""
        parameters = super().parameters()
        for name in ("files", "remote_code"):
            if not parameters[name]:
                del parameters[name]
        if self.loader == "mlx_lm":
            del parameters["loader"]
        return parameters

    def needed_tools(self) -> tuple[str, ...]:
        """A model that mlx_vlm makes is made of mlx_lm's parts too."""
        return (*self.tools, "mlx-vlm") if self.loader == "mlx_vlm" else self.tools
