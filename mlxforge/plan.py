"""Recipe and lock in, a graph of steps with keys out. Nothing runs and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from mlxforge.errors import ForgeError, Position
from mlxforge.local import Local
from mlxforge.lock import Lock
from mlxforge.models.device import backend
from mlxforge.recipe.model import Recipe
from mlxforge.steps.base import Step
from mlxforge.steps.baseline import Baseline
from mlxforge.steps.download import Download
from mlxforge.steps.evaluate import Evaluate
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.quantize import Quantize
from mlxforge.store.keys import digest

__all__ = ["TOOLS", "Locals", "Node", "NotLocked", "Plan", "Planner", "tool_version"]

TOOLS = sorted({*Inspect.tools, *Quantize.tools, *Baseline.tools, *Evaluate.tools})
"""Distributions whose versions can change what is built."""


class NotLocked(ForgeError):
    """The recipe names a Hub repository and no lock says which commit that is."""


class Locals(Protocol):
    """Gives the digests of local folders and files."""

    def folder(self, path: Path, at: Position | None) -> Local: ...
    def file(self, path: Path, at: Position | None) -> Local: ...


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
        tools = {name: tool_version(name) for name in self.step.tools}
        if self.step.backend:
            tools["backend"] = backend()
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


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    inspect: Node
    quantize: Node
    baseline: Node | None
    evaluate: Node | None

    @property
    def final(self) -> Node:
        return self.evaluate or self.quantize

    @cached_property
    def source(self) -> Node | Local:
        """What the model is made of."""
        return dict(self.inspect.inputs)["source"]

    def nodes(self) -> tuple[Node, ...]:
        """Every step, each after those that it needs."""
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(self.final.below())


@lru_cache
def tool_version(name: str) -> str:
    """The installed version of a distribution; ForgeError where it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        raise ForgeError(f"{name} is not installed", "pip install mlxforge") from None


class Planner:
    """Makes plans. Recipes that share a step share its node, so that its key is computed once."""

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Node] = {}

    def plan(self, recipe: Recipe, lock: Lock | None, local: Locals) -> Plan:
        """The steps of ``recipe``.

        Raises ForgeError for what no step can do, NotLocked for a Hub source without a lock.
        """
        _check_supported(recipe)
        source = _source(recipe, lock, local)
        if isinstance(source, Node):
            source = self._nodes.setdefault(source.key, source)
        inspect = self._node(Inspect(), ("source", source))
        quantize = self._quantize(recipe, source, inspect)
        baseline = evaluate = None
        wanted = recipe.evaluate
        if wanted is not None:
            inputs: tuple[tuple[str, Node | Local], ...] = (("model", quantize),)
            if wanted.text is not None and wanted.text.path is not None:
                scored = Baseline(wanted.samples, wanted.sequence_length)
                text = local.file(wanted.text.path, wanted.text.at)
                baseline = self._node(scored, ("source", source), ("text", text))
                inputs += (("source", source), ("baseline", baseline))
            metrics = wanted.metrics if baseline else ()
            step = Evaluate(tuple(metrics), wanted.prompts, wanted.max_tokens)
            evaluate = self._node(step, *inputs)
        return Plan(recipe, inspect, quantize, baseline, evaluate)

    def _node(self, step: Step, *inputs: tuple[str, Node | Local]) -> Node:
        made_of = (step, *((name, _identity(value)) for name, value in inputs))
        if made_of not in self._nodes:
            self._nodes[made_of] = Node(step, inputs)
        return self._nodes[made_of]

    def _quantize(self, recipe: Recipe, source: Node | Local, inspect: Node) -> Node:
        # by the recipe's section: the step's own rules are dicts, and cannot be looked up by
        made_of = (recipe.quantize, _identity(source))
        if made_of not in self._nodes:
            step = Quantize.of(recipe.quantize)
            self._nodes[made_of] = Node(step, (("source", source), ("layers", inspect)))
        return self._nodes[made_of]


def _identity(value: Node | Local) -> Hashable:
    """Equal for what is read from the same place with the same content."""
    return value.key if isinstance(value, Node) else (value.path, value.key)


def _source(recipe: Recipe, lock: Lock | None, local: Locals) -> Node | Local:
    source = recipe.source
    if source.path is not None:
        return local.folder(source.path, source.at)
    if lock is None or lock.source is None:
        raise NotLocked(
            f"{recipe.name} is not locked: which commit is {source.repo} at {source.revision}?",
            f"`doit lock {recipe.name}` asks the Hub once and writes {recipe.name}.lock",
            at=source.at,
        )
    locked = lock.source
    if (locked.repo, locked.revision) != (source.repo, source.revision):
        raise ForgeError(
            f"{recipe.name}.lock is for {locked.repo} at {locked.revision}, "
            f"the recipe wants {source.repo} at {source.revision}",
            f"`doit lock --upgrade {recipe.name}` moves the lock",
            at=source.at,
        )
    return Node(Download(locked.repo, locked.commit, locked.files), ())


def _check_supported(recipe: Recipe) -> None:
    wanted = recipe.quantize
    for key, value, able in (
        ("method", wanted.method, ("rtn", "none")),
        ("scales", wanted.scales, ("minmax",)),
        ("refine", wanted.refine, ("none",)),
    ):
        if value not in able:
            raise ForgeError(
                f"{key} {value} cannot be built by this version",
                f"it builds: {', '.join(able)}",
                at=recipe.positions.get(("quantize", key)),
            )
    if recipe.upload is not None and recipe.upload.on_build:
        raise ForgeError(
            "upload.on_build cannot be followed by this version: it publishes nothing",
            "leave on_build out",
            at=recipe.positions.get(("upload", "on_build")),
        )
    text = recipe.evaluate.text if recipe.evaluate else None
    if text is not None and text.dataset is not None:
        raise ForgeError(
            f"the data set {text.dataset} cannot be read by this version",
            "use `text: {path: …}` with a plain text file",
            at=text.at,
        )
