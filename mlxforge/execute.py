"""Making one artifact: under its lock, in a staging folder, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from mlxforge.errors import ForgeError
from mlxforge.hub.verify import check_files, check_nothing_else
from mlxforge.local import Local
from mlxforge.plan import Node
from mlxforge.progress import Meter, Progress
from mlxforge.project import Project
from mlxforge.steps.download import Download
from mlxforge.steps.process import run_in_process
from mlxforge.store.stopwatch import Stopwatch
from mlxforge.store.store import disk_error

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
    try:
        with store.locked(node.key, waiting):
            if project.done(node):
                return
            inputs = {name: project.path_of(value) for name, value in node.inputs}
            for _, value in node.inputs:
                _check_input(project, value)
            with ExitStack() as stack:
                if node.step.checkpoints:
                    inputs["checkpoints"] = stack.enter_context(store.checkpoints(node.key))
                watch = Stopwatch(inputs.get("checkpoints"))
                out = stack.enter_context(store.staging(node.key))
                log = store.log(node.kind, node.key)
                meter = Meter(watch.listening(progress))
                outcome = run_in_process(node.step, inputs, out, log, meter)
                for _, value in node.inputs:
                    _check_input(project, value)
                store.publish(
                    node.kind,
                    node.key,
                    node.recipe,
                    out,
                    watch.seconds(),
                    outcome.digests,
                    meter.work(),
                    outcome.peak_bytes,
                )
    except OSError as error:
        raise disk_error(error) from error


def _check_input(project: Project, value: Node | Local) -> None:
    """What a step reads from outside the store must be what its key stands for: before it reads,
    so that it reads nothing else, and after, so that nobody changed it meanwhile."""
    if isinstance(value, Local):
        if path := value.changed():
            raise ForgeError(f"{path} was changed while it was read", "run the build again")
    elif isinstance(value.step, Download):
        check_files(value.step.folder(), value.step.files, project.sha256)
        if value.step.repo_type == "model":  # of a data set the named files alone are read
            check_nothing_else(value.step.folder(), value.step.files)
