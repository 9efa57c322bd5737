"""`doit lock NAME`: pin what a recipe's names stand for, see what has moved, move it."""

from __future__ import annotations

from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.lock import lock_file
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.tasks.commands.base import ForgeCommand

__all__ = ["LockRecipes"]


def _flag(name: str, says: str) -> dict[str, Any]:
    return {"name": name, "short": "", "long": name, "type": bool, "default": False, "help": says}


class LockRecipes(ForgeCommand):
    name = "lock"
    doc_purpose = "pin a recipe's source, texts, tools and model; --check them, --upgrade them"
    doc_usage = "TASK... | GLOB"
    doc_description = (
        "Asks the Hub for commits, sizes and digests, downloads no weights, and writes "
        "recipes/NAME.lock, to be committed. What a lock holds is never moved without --upgrade."
    )
    cmd_options = (
        _flag("check", "fail where a fact of the lock has moved; change nothing"),
        _flag("upgrade", "move the lock to what its names stand for now"),
    )

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        if params["check"] and params["upgrade"]:
            raise ForgeError("--check and --upgrade", "one of the two")
        held = [self._one(project, recipe, params) for recipe in self.selected(project, names)]
        return 0 if all(held) else 1

    def _one(self, project: Project, recipe: Recipe, params: Any) -> bool:
        """Whether the lock holds, or does now."""
        from mlxforge.locking import complete_lock, make_lock, moved

        name = lock_file(recipe.file, recipe.name).name
        lock = project.lock(recipe)
        if lock is None:
            if params["check"]:
                print(f"{recipe.name}: not locked; `doit lock {recipe.name}` makes {name}")
                return False
            make_lock(project, recipe)
            print(f"{recipe.name}: wrote {name}")
            return True
        ask = bool(params["check"] or params["upgrade"])  # what is locked needs no Hub
        if not ask and (added := complete_lock(project, recipe)):
            print(f"{recipe.name}: added {', '.join(added)} to {name}")
            lock = project.lock(recipe) or lock
        facts = moved(project, recipe, lock, ask)
        if params["upgrade"] and lock.widths is not None:
            print(f"{recipe.name}: widths go from {name}, the next build measures and chooses anew")
            make_lock(project, recipe)
        if not facts:
            print(f"{recipe.name}: {name} holds")
            return True
        if params["upgrade"]:
            make_lock(project, recipe)
        print(f"{recipe.name}: {'moved' if params['upgrade'] else 'has moved since'} {name}")
        for fact in facts:
            print(f"  {fact}")
        if not ask:
            print(f"  `doit lock --upgrade {recipe.name}` moves the lock")
        return bool(params["upgrade"])
