"""What a project's dodo.py takes from us: two names that doit looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doit.task import Task

from mlxforge.errors import ForgeError
from mlxforge.project import Project

__all__ = ["load"]


def load(dodo: str) -> tuple[dict[str, Any], Callable[[], Iterator[Task]]]:
    """``DOIT_CONFIG`` and ``task_recipes`` for the project whose dodo.py is the file ``dodo``."""
    import doit

    started_in = Path(doit.get_initial_workdir() or Path.cwd())
    project = Project(Path(dodo).resolve().parent, started_in)

    def task_recipes() -> Iterator[Task]:
        """One task per recipe and step, for doit's own commands (`doit info NAME`)."""
        from mlxforge.tasks.display import make_display
        from mlxforge.tasks.graph import plan_tasks
        from mlxforge.tasks.order import Halt

        plans = []
        for recipe in project.book.recipes.values():
            try:
                plans.append(project.plan(recipe))
            except ForgeError:
                continue  # `doit list` and `doit plan` say why
        halt = Halt(plans, go_on=True)
        yield from plan_tasks(project, plans, make_display(), lambda _, text: print(text), halt)

    return {"project": project, "default_tasks": [], "verbosity": 2}, task_recipes
