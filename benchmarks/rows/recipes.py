"""What a build with nothing to do costs, and a list: the command line against doit itself."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import figures, theirs
from benchmarks.bench import Bench, Outcome
from benchmarks.figures import Target
from benchmarks.inputs.projects import demo_project, recipes_project, tasks_project
from benchmarks.meter import Command
from benchmarks.pairs import Task

__all__ = ["listing", "nothing_to_do", "small_project"]

DOIT = Path(sys.executable).parent / "doit"
EMPTY = "def task_nothing():\n    return {'actions': None}\n"


def small_project(bench: Bench, *, limit: Target) -> Outcome:
    """One recipe of the demo project, built; and its list."""
    project, empty = bench.folder("project"), bench.folder("empty")
    demo_project(project)
    (empty / "dodo.py").write_text(EMPTY)
    build, bare = _doit(project, "build", "demo-4bit"), theirs.plain_doit(empty, "list")
    bench.make(build, "made")
    built = bench.alternate(build, bare)
    listed = bench.alternate(_doit(project, "list"), bare)
    found = (figures.wall(built, limit, "build"), figures.wall(listed, limit, "list"))
    return Outcome(build, (built, listed), found)


def nothing_to_do(bench: Bench, *, recipes: int, tasks: int, limit: Target) -> Outcome:
    """A build of all of ``recipes``, done before, against ``tasks`` plain tasks, done before."""
    project, plain = bench.folder("project"), bench.folder("plain")
    recipes_project(project, recipes)
    tasks_project(plain, tasks)
    build, bare = _doit(project, "build", "*"), theirs.plain_doit(plain)
    for task in (build, bare, build, bare):  # made, then once more with everything warm
        bench.make(task, "made")
    pairs = bench.alternate(build, bare)
    return Outcome(build, (pairs,), (figures.wall(pairs, limit),))


def listing(bench: Bench, *, many: int, few: int, limit: Target) -> Outcome:
    """`doit list` of built recipes, many against few."""
    of_many, of_few = (_listed(bench, count) for count in (many, few))
    pairs = bench.alternate(of_many, of_few)
    return Outcome(of_many, (pairs,), (figures.wall(pairs, limit),))


def _listed(bench: Bench, count: int) -> Task:
    """`doit list` of ``count`` recipes that are built, run once to warm it up."""
    project = bench.folder(f"project-{count}")
    recipes_project(project, count)
    listed = _doit(project, "list")
    bench.make(_doit(project, "build", "*"), "made")
    bench.make(listed, "made")
    return listed


def _doit(project: Path, *words: str) -> Task:
    return Task(lambda folder: Command((str(DOIT), *words), project))
