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


def publish_all(
    project: Project, plans: Sequence[Plan], display: Display, again: bool
) -> tuple[list[str], bool]:
    """Publish the models of ``plans``, one after the other: what to say of each, and whether
    all went well. Without ``again`` the Hub is not asked about what was published from here
    before and has not changed since."""
    from mlxforge.publishing import last_receipt, publication, publish

    told, well = [], True
    for plan in plans:
        title = f"upload {plan.recipe.name}"
        started = time.monotonic()
        try:
            ready = publication(project, plan)
            last = last_receipt(project, plan.recipe.name)
            if not again and last and last["fingerprint"] == ready.fingerprint:
                continue
            display.started(title)
            receipt = publish(
                project, ready, lambda *progress, title=title: display.advanced(title, *progress)
            )
        except ForgeError as error:
            display.failed(title, str(error))
            well = False
            continue
        display.finished(title, time.monotonic() - started)
        told.append(upload_lines(plan.recipe.name, receipt))
    return told, well
