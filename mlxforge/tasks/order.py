"""In which order the steps of many recipes run."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.stages import MAKERS

__all__ = ["Halt", "needed", "work_order"]


def needed(project: Project, plan: Plan) -> list[Node]:
    """The steps that a build of ``plan`` runs, each after those that it needs.

    A finished step asks for nothing below it: a model in the store needs no download.
    """
    found: dict[str, Node] = {}

    def walk(node: Node) -> None:
        if node.key not in found and not project.done(node):
            for _, value in node.inputs:
                if isinstance(value, Node):
                    walk(value)
            found[node.key] = node

    for end in plan.ends:
        walk(end)
    return list(found.values())


def work_order(project: Project, plans: Sequence[Plan]) -> Iterator[Node | Plan]:
    """Every step that has to run, once, and every plan after its last step.

    All sources are inspected before anything is downloaded, and all texts compared, so that what
    cannot be built is told before long work begins. Then source by source: a source's files are
    read by one step right after the other, while the system still has them in memory.
    """
    steps = {id(plan): needed(project, plan) for plan in plans}
    seen: set[str] = set()

    def fresh(plan: Plan, *kinds: str) -> Iterator[Node]:
        for node in steps[id(plan)]:
            if node.kind in kinds and node.key not in seen:
                seen.add(node.key)
                yield node

    sources: dict[Hashable, list[Plan]] = {}
    for plan in plans:
        sources.setdefault(plan.source.key, []).append(plan)
    for kinds in (("headers", "inspect", "pairs"), ("download",), ("text", "overlap")):
        for plan in plans:
            yield from fresh(plan, *kinds)
    for together in sources.values():
        for plan in together:
            yield from fresh(plan, "calibrate", *MAKERS)
            if plan.evaluate is None:
                yield plan
    for together in sources.values():
        for plan in together:
            if plan.evaluate is not None:
                yield from fresh(plan, "baseline", "answers", "evaluate")
                yield plan


class Halt:
    """What a failure stops. The recipes before the one that failed are built as if nothing had
    happened, those after it are not begun; with ``go_on`` they are."""

    def __init__(self, plans: Sequence[Plan], go_on: bool) -> None:
        self._place = {plan.recipe.name: place for place, plan in enumerate(plans)}
        self._first = len(plans)
        self._go_on = go_on

    def failed(self, plan: Plan) -> None:
        if not self._go_on:
            self._first = min(self._first, self._place[plan.recipe.name])

    def stops(self, plan: Plan) -> bool:
        return self._place[plan.recipe.name] >= self._first
