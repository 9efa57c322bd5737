"""`doit gc`: show what the store no longer needs; remove it when told to."""

from __future__ import annotations

from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.project import Project
from mlxforge.report.table import print_table
from mlxforge.store.garbage import find_garbage, find_orphans, remove, remove_orphan
from mlxforge.tasks.commands.base import ForgeCommand
from mlxforge.units import readable_bytes

__all__ = ["Collect"]

opt_delete = {
    "name": "delete",
    "short": "",
    "long": "delete",
    "type": bool,
    "default": False,
    "help": "remove what is listed; without this flag nothing is removed",
}


class Collect(ForgeCommand):
    name = "gc"
    doc_purpose = "list what no recipe needs any more; --delete removes them"
    doc_usage = ""
    cmd_options = (opt_delete,)

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        if names:
            raise ForgeError(f"gc takes no names ({names[0]})", "it looks at the whole store")
        garbage = find_garbage(project.store, _needed(project))
        orphans = find_orphans(project.store, project.book.recipes)
        if not garbage and not orphans:
            print("nothing to remove")
            return 0
        rows = [(entry.kind, entry.key[:12], readable_bytes(entry.bytes)) for entry in garbage]
        rows += [("link", f"models/{name}", "no recipe") for name in orphans]
        print_table(("artifact", "key", "size"), rows, right=(2,))
        total = readable_bytes(sum(entry.bytes for entry in garbage))
        if not params["delete"]:
            print(f"{total} could be freed; `doit gc --delete` removes them")
            return 0
        with project.store.in_use(alone=True):
            freed = sum(entry.bytes for entry in garbage if remove(project.store, entry))
            for name in orphans:
                remove_orphan(project.store, name)
        print(f"freed {readable_bytes(freed)}")
        return 0


def _needed(project: Project) -> set[str]:
    """Keys that a recipe, as it is now or as it was last built, refers to."""
    if project.book.errors:
        error = next(iter(project.book.errors.values()))
        raise ForgeError(f"a recipe cannot be read, so its needs are not known\n{error}")
    needed: set[str] = set()
    for recipe in project.book.recipes.values():
        built = project.built(recipe.name)
        needed |= set(built.keys.values()) if built else set()
        try:
            needed |= {node.key for node in project.plan(recipe).nodes()}
        except ForgeError:
            continue  # it cannot be built as it is now; what it last built is kept
    return needed
