"""Plans as doit tasks: one per step and key, shared by all recipes that need it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from doit.exceptions import TaskFailed
from doit.task import Task

from mlxforge.errors import ForgeError
from mlxforge.execute import execute
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.report.gates import check_gates
from mlxforge.report.result import figures_of
from mlxforge.report.summary import summary
from mlxforge.tasks.check import check_layers
from mlxforge.tasks.display import Display

__all__ = ["plan_tasks"]


def plan_tasks(
    project: Project, plans: Sequence[Plan], display: Display, say: Callable[[str], None]
) -> Iterator[Task]:
    """Tasks ``_KIND:KEY`` for the steps, chained by ``setup``, and one named after each recipe.

    Setup rather than dependency: a finished last step asks for nothing below it, so that a
    model in the store needs no download. Up to date means in the store, whatever doit's own
    record says.
    """
    seen: set[str] = set()
    for plan in plans:
        for node in plan.nodes():
            if node.key not in seen:
                seen.add(node.key)
                yield _step_task(project, plan, node, display)
        yield _recipe_task(project, plan, display, say)


def task_name(node: Node) -> str:
    return f"_{node.kind}:{node.key[:20]}"


def _step_task(project: Project, plan: Plan, node: Node, display: Display) -> Task:
    title = f"{node.kind} {plan.recipe.name}"

    def run() -> Any:
        started = time.monotonic()
        try:
            if node.kind == "quantize":
                check_layers(project, plan)
            for _, value in node.inputs:
                project.path_of(value)
            display.started(title)
            execute(
                project,
                node,
                lambda *progress: display.advanced(title, *progress),
                lambda: display.note(f"{title}: another build is making it, waiting"),
            )
        except ForgeError as error:
            return _failed(display, title, error)
        display.finished(title, time.monotonic() - started)
        return None

    return Task(
        task_name(node),
        [run],
        setup=[task_name(value) for _, value in node.inputs if isinstance(value, Node)],
        uptodate=[lambda task, values: project.done(node)],
        title=lambda task: title,
        io={"capture": False},
    )


def _recipe_task(
    project: Project, plan: Plan, display: Display, say: Callable[[str], None]
) -> Task:
    name = plan.recipe.name

    def run() -> Any:
        try:
            for node in plan.nodes():
                if node in (plan.quantize, plan.evaluate):
                    project.path_of(node)
            figures = figures_of(project, plan)
            check_gates(plan.recipe, figures, project.path_of(plan.quantize))
            project.finish(plan, figures)
        except ForgeError as error:
            return _failed(display, name, error)
        say(summary(project, plan, figures))
        return None

    return Task(
        name,
        [run],
        setup=[task_name(plan.final)],
        uptodate=[False],
        title=lambda task: name,
        doc=f"build {name}",
        io={"capture": False},
    )


def _failed(display: Display, title: str, error: ForgeError) -> TaskFailed:
    display.failed(title, str(error))
    failure = TaskFailed(str(error))
    failure.shown = True
    return failure
