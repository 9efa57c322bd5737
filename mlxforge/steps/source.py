"""What the steps that read a model have in common: what a recipe wants of its source besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxforge.steps.base import Step

__all__ = ["SourceStep"]


@dataclass(frozen=True, kw_only=True)
class SourceStep(Step):
    """``files`` are names of further files of the source that belong to the model, and
    ``remote_code`` those of its Python files that may run (see mlxforge.steps.remote_code)."""

    files: tuple[str, ...] = ()
    remote_code: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Where a recipe wants nothing further, as they were before it could; so are the keys."""
        parameters = super().parameters()
        for name in ("files", "remote_code"):
            if not parameters[name]:
                del parameters[name]
        return parameters
