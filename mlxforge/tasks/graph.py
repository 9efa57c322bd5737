"""Plans as doit tasks: one per step and key, shared by all recipes that need it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from doit.exceptions import TaskFailed
from doit.task import Task

from mlxforge.errors import ForgeError
from mlxforge.locking import keep_model
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.report.gates import check_gates
from mlxforge.report.overlap import check_overlap
from mlxforge.report.result import figures_of, overlap_figures
from mlxforge.report.summary import summary
from mlxforge.stages import MAKERS
from mlxforge.tasks.display import Display
from mlxforge.tasks.order import Halt

__all__ = ["finish", "plan_tasks", "task_name"]


def plan_tasks(
    project: Project,
    plans: Sequence[Plan],
    display: Display,
    say: Callable[[Plan, str], None],
    halt: Halt,
) -> Iterator[Task]:
    """Tasks ``_KIND:KEY`` for the steps, chained by ``setup``, and one named after each recipe.

    Setup rather than dependency: a finished last step asks for nothing below it, so that a
    model in the store needs no download. Up to date means in the store, whatever doit's own
    record says. ``say`` is given the summary of each plan that was finished.
    """
    users: dict[str, list[Plan]] = {}
    for plan in plans:
        for node in plan.nodes():
            users.setdefault(node.key, []).append(plan)
    for plan in plans:
        for node in plan.nodes():
            if users[node.key][0] is plan:
                yield _step_task(project, users[node.key], node, display, halt)
        yield _recipe_task(project, plan, display, say, halt)


def task_name(work: Node | Plan) -> str:
    if isinstance(work, Plan):
        return work.recipe.name
    return f"_{work.kind}:{work.key[:20]}"


def finish(project: Project, plan: Plan) -> str:
    """The end of a build whose steps are done: its gates, its record, and its summary; of one that
    could only measure, the choice of its widths.

    Raises ForgeError where a step is not done, a gate is missed or the lock knows another model.
    """
    if plan.sensitivity is not None:
        from mlxforge.widths import lock_widths

        return lock_widths(project, plan)
    figures = figures_of(project, plan)
    check_gates(plan.recipe, figures, project.path_of(plan.quantize))
    check_overlap(plan.recipe, figures)
    kept = keep_model(project, plan)
    project.finish(plan, figures)
    return summary(project, plan, figures, kept)


def _step_task(
    project: Project, users: Sequence[Plan], node: Node, display: Display, halt: Halt
) -> Task:
    """``users`` need the step; it runs as a step of the first."""
    plan = users[0]
    name = plan.names[node.key]
    title = f"{node.kind} {plan.recipe.name}{name.removeprefix(node.kind)}"

    def run() -> Any:
        from mlxforge.checks import check_heads, check_layers
        from mlxforge.execute import execute  # for those with work to do

        if halt.stops(plan):
            return TaskFailed("halted", report=False)
        started = time.monotonic()
        try:
            if node.kind in ("calibrate", *MAKERS):  # before anything long
                check_layers(project, plan)
                check_heads(project, plan)
            for _, value in node.inputs:
                project.path_of(value)
            display.started(title)
            execute(
                project,
                node,
                lambda *progress: display.advanced(title, *progress),
                lambda: display.note(f"{title}: another build is making it, waiting"),
            )
            if node.kind == "overlap":
                _check_overlaps(project, users)
        except ForgeError as error:
            halt.failed(plan)
            at = error.at or plan.position_of(node, error.key)
            return _failed(display, title, ForgeError(error.message, error.hint, at))
        except Exception:
            halt.failed(plan)
            raise
        display.finished(title, time.monotonic() - started)
        return None

    return Task(
        task_name(node),
        [run],
        setup=[*_inputs(node), *_guards(users, node)],
        uptodate=[lambda task, values: project.done(node)],
        title=lambda task: title,
        io={"capture": False},
    )


def _inputs(node: Node) -> list[str]:
    return [task_name(value) for _, value in node.inputs if isinstance(value, Node)]


def _guards(users: Sequence[Plan], node: Node) -> list[str]:
    """What must have gone well before long work begins: a recipe's texts must not overlap."""
    overlaps = [plan.overlap for plan in users]
    if node.kind not in (*MAKERS, "baseline") or None in overlaps:
        return []
    return list(dict.fromkeys(task_name(overlap) for overlap in overlaps if overlap))


def _check_overlaps(project: Project, users: Sequence[Plan]) -> None:
    """Raises ForgeError where no recipe lets pass what was found; one that does is built, the
    others are refused at their end."""
    refusals = []
    for plan in users:
        try:
            check_overlap(plan.recipe, overlap_figures(project, plan))
            return
        except ForgeError as error:
            refusals.append(error)
    raise refusals[0]


def _recipe_task(
    project: Project,
    plan: Plan,
    display: Display,
    say: Callable[[Plan, str], None],
    halt: Halt,
) -> Task:
    name = plan.recipe.name

    def run() -> Any:
        if halt.stops(plan):
            return TaskFailed("halted", report=False)
        try:
            say(plan, finish(project, plan))
        except ForgeError as error:
            halt.failed(plan)
            return _failed(display, name, error)
        return None

    return Task(
        name,
        [run],
        setup=[task_name(node) for node in plan.ends],
        uptodate=[False],
        title=lambda task: name,
        doc=f"build {name}",
        io={"capture": False},
    )


def _failed(display: Display, title: str, error: ForgeError) -> TaskFailed:
    display.failed(title, str(error))
    return TaskFailed(str(error), report=False)
