"""doit's events, shown as a build of models and not as a list of tasks."""

from __future__ import annotations

from typing import Any

from mlxforge.tasks.display import Display

__all__ = ["BuildReporter"]


class BuildReporter:
    """Opens and closes the display. What runs is shown by the actions themselves, which know
    how far they are; what is up to date is not shown."""

    desc = "bars on a terminal, lines in a pipe"

    def __init__(self, display: Display) -> None:
        self._display = display

    def initialize(self, tasks: Any, selected_tasks: Any) -> None:
        self._display.open()

    def get_status(self, task: Any) -> None: ...
    def execute_task(self, task: Any) -> None: ...
    def add_success(self, task: Any) -> None: ...
    def skip_uptodate(self, task: Any) -> None: ...
    def skip_ignore(self, task: Any) -> None: ...
    def teardown_task(self, task: Any) -> None: ...

    def add_failure(self, task: Any, fail: Any) -> None:
        if fail.report:
            self._display.failed(task.title(), fail.get_msg())

    def cleanup_error(self, exception: Any) -> None:
        self._display.note(exception.get_msg())

    def runtime_error(self, msg: str) -> None:
        self._display.note(msg)

    def complete_run(self) -> None:
        self._display.close()
