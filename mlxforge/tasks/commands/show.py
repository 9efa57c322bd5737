"""`doit show NAME`: every value of a recipe and where it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.report.table import print_table
from mlxforge.tasks.commands.base import ForgeCommand

__all__ = ["Show"]

Path = tuple[str | int, ...]


class Show(ForgeCommand):
    name = "show"
    doc_purpose = "show every value of a recipe, with the file and line that it came from"
    doc_usage = "TASK... | GLOB"

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        for number, recipe in enumerate(self.selected(project, names)):
            if number:
                print()
            print(recipe.name)
            print_table(("", "", ""), list(_rows(recipe)))
        return 0


def _rows(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    for path, value in _leaves(dict(recipe.document), ()):
        at = recipe.positions.get(path)
        yield f"  {_dotted(path)}", json.dumps(value, ensure_ascii=False), str(at or "default")


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    else:
        yield path, value


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
