"""`doit build NAME… | glob`: make models."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from doit.cmd_run import Run as DoitRun
from doit.cmd_run import opt_continue, opt_num_process
from doit.dependency import Dependency, JSONCodec, MD5Checker, SqliteDB
from doit.task import Task

from mlxforge.errors import ForgeError
from mlxforge.lock import lock_file
from mlxforge.plan import Node, NotLocked, Plan
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.report.overlap import check_overlap
from mlxforge.report.result import overlap_figures
from mlxforge.steps.headers import Headers
from mlxforge.steps.process import stop_all
from mlxforge.tasks.commands.base import ForgeCommand, in_project
from mlxforge.tasks.display import Display, make_display
from mlxforge.tasks.graph import finish, plan_tasks, task_name
from mlxforge.tasks.order import Halt, needed, work_order
from mlxforge.tasks.reporter import BuildReporter
from mlxforge.units import readable_bytes

__all__ = ["Build", "Run", "publishable"]


class Build(ForgeCommand, DoitRun):  # type: ignore[misc]
    name = "build"
    doc_purpose = "build models: download, quantize, evaluate what is not in the store yet"
    doc_usage = "TASK... | GLOB"
    doc_description = (
        "TASK is a recipe's name; quote globs: doit build 'demo-*'. With --continue, a recipe "
        "that fails does not stop the others; -n 2 runs two steps at a time."
    )
    execute_tasks = True
    cmd_options: ClassVar[tuple[Any, ...]] = (opt_continue, opt_num_process)

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        recipes = self.selected(project, names)
        project.store.prepare()
        display = make_display()
        project.announce = lambda files, size: display.note(
            f"hashing {files} {'file' if files == 1 else 'files'}, {readable_bytes(size)}"
        )
        with _interruptible() as status, project.store.in_use():
            plans, failed = self._plans(project, recipes, display, params["continue"])
            to_publish = {plan.recipe.name for plan in self._to_publish(project, plans)}
            plans, unmeasured = self._choose(project, plans, display, params)
            code, finished = self._build(project, plans, display, params)
            code = unmeasured or code
            well = True
            if chosen := [plan for plan in finished if plan.recipe.name in to_publish]:
                from mlxforge.tasks.publishing import publish_all

                well = publish_all(project, chosen, display)
            return code or (3 if failed else 0 if well else 1)
        return status[0]

    def _to_publish(self, project: Project, plans: Sequence[Plan]) -> list[Plan]:
        """Those whose recipe says `upload.on_build`, and that are not published as they are now.

        ForgeError where that could not be done, before hours of work and not after them.
        """
        wanted = [plan for plan in plans if plan.recipe.upload and plan.recipe.upload.on_build]
        if not wanted:
            return []
        from mlxforge.publishing import is_published

        return publishable(project, [plan for plan in wanted if not is_published(project, plan)])

    def _plans(
        self, project: Project, recipes: list[Recipe], display: Display, go_on: bool
    ) -> tuple[list[Plan], bool]:
        """The plans, checked as far as they can be before anything runs."""
        plans, failed = [], False
        for recipe in recipes:
            try:
                plans.append(self._checked(project, recipe, display))
            except ForgeError as error:
                if not go_on:
                    raise
                failed = True
                display.failed(recipe.name, str(error))
        return plans, failed

    def _checked(self, project: Project, recipe: Recipe, display: Display) -> Plan:
        try:
            plan = project.plan(recipe)
        except NotLocked:
            display.note(f"locked {recipe.name}: {_lock(project, recipe)}")
            plan = project.plan(recipe)
        if plan.overlap and project.done(plan.overlap):
            check_overlap(recipe, overlap_figures(project, plan))
        if project.done(plan.quantize):
            return plan
        from mlxforge.checks import check_layers, inspect_now

        inspect_now(project, plan, lambda node: _tell_asking(node, display))
        check_layers(project, plan)
        return plan

    def _choose(
        self, project: Project, plans: list[Plan], display: Display, params: Any
    ) -> tuple[list[Plan], int]:
        """Choose the widths that are still to be chosen, by measuring; then plan again. The plans
        to go on with, and the status."""
        measured = [plan for plan in plans if plan.sensitivity is not None]
        if not measured:
            return plans, 0
        halt = Halt(plans, params["continue"])
        again: dict[str, Plan] = {}

        def say(plan: Plan, text: str) -> None:
            display.note(text)
            again[plan.recipe.name] = self._checked(project, plan.recipe, display)

        code = self._run_steps(project, measured, display, params, halt, say)
        whole = [plan for plan in plans if not halt.stops(plan)]
        missing = {plan.recipe.name for plan in measured} - again.keys()
        return [
            again.get(plan.recipe.name, plan) for plan in whole if plan.recipe.name not in missing
        ], code

    def _build(
        self, project: Project, plans: list[Plan], display: Display, params: Any
    ) -> tuple[int, list[Plan]]:
        """A summary of each in the end. The status, and the plans that were finished."""
        summaries: dict[str, str] = {}

        def say(plan: Plan, text: str) -> None:
            summaries[plan.recipe.name] = text

        halt = Halt(plans, params["continue"])
        code = self._run_steps(project, plans, display, params, halt, say)
        finished = [plan for plan in plans if plan.recipe.name in summaries]
        for plan in finished:
            print(summaries[plan.recipe.name])
        return code, finished

    def _run_steps(
        self,
        project: Project,
        plans: list[Plan],
        display: Display,
        params: Any,
        halt: Halt,
        say: Callable[[Plan, str], None],
    ) -> int:
        """Finish what is done at once, hand the rest to doit; ``say`` is told of each. The
        status."""
        code = 0
        unfinished: list[Plan] = []
        for plan in plans:
            if halt.stops(plan):
                break
            if needed(project, plan):
                unfinished.append(plan)
                continue
            try:
                say(plan, finish(project, plan))
            except ForgeError as error:
                halt.failed(plan)
                display.failed(plan.recipe.name, str(error))
                code = 1
        if unfinished:
            tasks = list(plan_tasks(project, unfinished, display, say, halt))
            order = [task_name(work) for work in work_order(project, unfinished)]
            code = self._run_doit(tasks, order, display, params) or code
        return code

    def _run_doit(self, tasks: list[Task], order: list[str], display: Display, params: Any) -> int:
        self.task_list = tasks
        self.sel_tasks = order
        # the store is the truth: doit's own record lives and dies with this run
        self.dep_manager = Dependency(SqliteDB, ":memory:", MD5Checker, JSONCodec)
        code: int = self._execute(
            outfile=sys.stdout,
            verbosity=2,
            continue_=True,  # halt knows what must not go on
            reporter=BuildReporter(display),
            num_process=params["num_process"],
            par_type="thread",
        )
        return code


def _tell_asking(node: Node, display: Display) -> None:
    if isinstance(node.step, Headers):
        display.note(f"reading the headers of {node.step.repo}")


def _lock(project: Project, recipe: Recipe) -> str:
    """Lock what is not locked yet; what was done."""
    from mlxforge.locking import complete_lock, make_lock

    if project.lock(recipe) is None:
        return f"wrote {make_lock(project, recipe).name}"
    added = ", ".join(complete_lock(project, recipe))
    return f"added {added} to {lock_file(recipe.file, recipe.name).name}"


def publishable(project: Project, plans: Sequence[Plan]) -> list[Plan]:
    """The same; ForgeError where one of them cannot be published."""
    from mlxforge.publishing import check_target

    for plan in plans:
        check_target(project, plan.recipe)
    if plans:
        from mlxforge.hub.account import check_token

        check_token()
    return list(plans)


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """INT and TERM stop the running steps; what is finished stays finished."""
    status = [0]

    def stop(number: int, frame: object) -> None:
        status[0] = 128 + number
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield status
    except KeyboardInterrupt:
        stop_all()
        print("\ninterrupted; finished steps are kept, run it again to go on", file=sys.stderr)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run(DoitRun):  # type: ignore[misc]
    """doit's `run`, except among recipes, where it is `build`: `doit -n 2 build NAME`."""

    def parse_execute(self, in_args: list[str]) -> int:
        if not in_project(self.opt_vals, in_args):
            code: int = super().parse_execute(in_args)
            return code
        build = Build(
            task_loader=self.loader,
            config=self.config,
            bin_name=self.bin_name,
            opt_vals=self.opt_vals,
        )
        words = list(in_args)
        if "build" in words:
            words.remove("build")
        return build.parse_execute(words)  # type: ignore[no-any-return]
