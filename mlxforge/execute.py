"""Making one artifact: under its lock, in a staging folder, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from mlxforge.errors import ForgeError
from mlxforge.local import Local
from mlxforge.plan import Node
from mlxforge.progress import Progress
from mlxforge.project import Project
from mlxforge.steps.process import run_in_process

__all__ = ["execute"]


def execute(
    project: Project, node: Node, progress: Progress, waiting: Callable[[], None] = lambda: None
) -> None:
    """Make sure that the artifact of ``node`` is in the store.

    Does nothing where it is there already; calls ``waiting`` and waits where another process is
    making it.
    Raises ForgeError where an input is missing or the step fails; the store is then as before.
    """
    store = project.store
    with store.locked(node.key, waiting):
        if project.done(node):
            return
        inputs = {name: project.path_of(value) for name, value in node.inputs}
        started = time.monotonic()
        with store.staging(node.key) as out:
            log = store.log(node.kind, node.key)
            run_in_process(node.step, inputs, out, log, progress)
            for _, value in node.inputs:
                _check_unchanged(value)
            seconds = time.monotonic() - started
            store.publish(node.kind, node.key, node.recipe, out, seconds)


def _check_unchanged(value: Node | Local) -> None:
    if isinstance(value, Local) and (path := value.changed()):
        raise ForgeError(f"{path} was changed while it was read", "run the build again")
