"""Steps with their inputs, and the keys that follow from both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.local import Local
from mlxforge.models.blas import promised
from mlxforge.models.device import backend
from mlxforge.models.kernels import rounding
from mlxforge.steps.base import Step
from mlxforge.store.keys import digest

__all__ = ["Node", "tool_version"]


@dataclass(frozen=True)
class Node:
    """A step with its inputs. Equal keys mean the same artifact."""

    step: Step
    inputs: tuple[tuple[str, Node | Local], ...]

    @property
    def kind(self) -> str:
        return self.step.kind

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that the key is made of; it stands in the artifact's manifest."""
        tools = {name: tool_version(name) for name in self.step.needed_tools()}
        if self.step.backend:
            tools["backend"] = backend()
        if self.step.one_blas_thread:
            tools["numpy"] = tool_version("numpy")  # with a BLAS of its own
            if chosen := rounding():
                tools["kernels"] = chosen
            if backend() == "cpu":
                tools["blas"] = promised()
        return {
            "inputs": {name: value.key for name, value in self.inputs},
            "parameters": self.step.parameters(),
            "tools": tools,
            "version": self.step.version,
        }

    @cached_property
    def key(self) -> str:
        return digest({"kind": self.kind, **self.recipe})

    def below(self) -> Iterator[Node]:
        """The steps that this one needs, deepest first, then itself; each once."""
        seen: set[str] = set()
        for node in self._walk():
            if node.key not in seen:
                seen.add(node.key)
                yield node

    def _walk(self) -> Iterator[Node]:
        for _, value in self.inputs:
            if isinstance(value, Node):
                yield from value._walk()
        yield self


@lru_cache
def tool_version(name: str) -> str:
    """The installed version of a distribution; ForgeError where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        raise ForgeError(f"{name} is not installed", "pip install mlxforge") from None
