"""Why a step would run: what differs from the last finished build of the same recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.plan import Node
from mlxforge.project import Built, Project

__all__ = ["changes"]


def changes(project: Project, built: Built | None, node: Node, name: str) -> str:
    """``bits 4 -> 8``, ``source changed``, ``mlx 0.32.3 -> 0.32.4``; or that it never ran.
    ``name`` is the step's in its recipe (see Plan.names)."""
    if built is None or name not in built.keys:
        return "never built"
    key = built.keys[name]
    artifact = project.store.find(node.kind, key)
    if key == node.key:
        return "was removed from the store"
    if artifact is None:
        return "the last build was removed from the store"
    try:
        before = artifact.manifest.recipe
    except ForgeError:
        return "the last build's manifest is damaged"
    return "; ".join(_differences(before, node.recipe)) or "the step's kind changed"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for section in ("parameters", "tools"):
        old, new = before[section], json.loads(json.dumps(after[section]))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield f"{name} {_short(old.get(name))} -> {_short(new.get(name))}"
    old, new = before["inputs"], after["inputs"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"input {name} changed"
    if before["version"] != after["version"]:
        yield f"mlxforge's {before['version']}. version of the step -> {after['version']}."


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
