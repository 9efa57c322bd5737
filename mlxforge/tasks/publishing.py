"""The end of a build that is published."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mlxforge.errors import ForgeError
from mlxforge.plan import Plan
from mlxforge.project import Project
from mlxforge.report.upload import upload_lines
from mlxforge.tasks.display import Display

__all__ = ["publish_all"]


def publish_all(project: Project, plans: Sequence[Plan], display: Display) -> bool:
    """Publish the models of ``plans``, one after the other, and say so of each; whether all went
    well."""
    from mlxforge.publishing import publication, publish

    well = True
    for plan in plans:
        title = f"upload {plan.recipe.name}"
        started = time.monotonic()
        display.open()
        try:
            ready = publication(project, plan)
            display.started(title)
            receipt = publish(
                project, ready, lambda *progress, title=title: display.advanced(title, *progress)
            )
            display.finished(title, time.monotonic() - started)
        except ForgeError as error:
            display.failed(title, str(error))
            well = False
            continue
        finally:
            display.close()
        print(upload_lines(plan.recipe.name, receipt), flush=True)
    return well
