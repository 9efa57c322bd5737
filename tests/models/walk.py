"""What becomes of every model type that the installed mlx_lm and mlx_vlm have.

A type resolves where each of its quantizable layers gets a role. It is refused where its library
makes no model from a configuration, or a model that does not write text.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.source.purpose import other_purpose, writes_by_diffusion
from tests.models.default_configs import architectures, default_model

__all__ = ["PACKAGES", "Verdict", "verdict", "walk"]

PACKAGES = ("mlx_lm", "mlx_vlm")
SENSES = ("vision", "audio")


@dataclass(frozen=True)
class Verdict:
    """``roles``: how many quantizable layers have which. ``other``: patterns of those without.
    ``routes``: whether any layer or parameter is a router, quantizable or not."""

    package: str
    name: str
    roles: Mapping[str, int]
    other: tuple[str, ...] = ()
    routes: bool = False
    refused: str | None = None

    @property
    def resolves(self) -> bool:
        return self.refused is None and not self.other and "attention" in self.roles

    @property
    def senses(self) -> bool:
        return any(role in self.roles for role in SENSES)


def walk(package: str) -> list[Verdict]:
    """A verdict on each of the package's model types, by name."""
    found = (verdict(package, name) for name in architectures(package))
    return [entry for entry in found if entry is not None]


def verdict(package: str, name: str) -> Verdict | None:
    """None for a module that no model type stands for."""
    try:
        module = importlib.import_module(f"{package}.models.{name}")
    except SystemExit:  # where a package is missing; the library prints which
        return Verdict(package, name, {}, refused="needs a package that is not installed")
    if package == "mlx_vlm" and hasattr(module, "__path__"):
        reason = other_purpose(getattr(module, "Model", None))
        if reason is not None:
            return Verdict(package, name, {}, refused=reason)
    try:
        model = default_model(package, name)
    except (ValueError, TypeError):
        return Verdict(package, name, {}, refused="no model of a default configuration")
    if model is None:
        return None
    if package == "mlx_vlm" and writes_by_diffusion(model):
        return Verdict(package, name, {}, refused="writes by diffusion, not word by word")
    try:
        table = inspect_model(model, {"model_type": name})
    except ForgeError as error:
        return Verdict(package, name, {}, refused=error.message.partition(" ")[2])
    except TypeError:
        return Verdict(package, name, {}, refused="its own code fails")
    return Verdict(package, name, *_roles(table))


def _roles(table: LayerTable) -> tuple[dict[str, int], tuple[str, ...], bool]:
    layers = [layer for layer in table.layers if layer.quantizable]
    other = {re.sub(r"\.\d+(?=\.|$)", ".*", layer.path) for layer in layers
             if layer.role == "other"}  # fmt: skip
    routes = any(layer.role == "router" for layer in table.layers)
    return dict(Counter(layer.role for layer in layers)), tuple(sorted(other)), routes
