"""`doit upload NAME`: build, then publish on the Hub, and prove that it arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mlxforge.errors import ForgeError
from mlxforge.plan import Plan
from mlxforge.project import Project
from mlxforge.tasks.commands.build import Build, publishable

__all__ = ["UploadModels"]

opt_dry_run = {
    "name": "dry_run",
    "short": "",
    "long": "dry-run",
    "type": bool,
    "default": False,
    "help": "show files, bytes and the model card; build and send nothing",
}


class UploadModels(Build):
    name = "upload"
    doc_purpose = "build models and publish them on the Hub; --dry-run shows what would go there"
    doc_usage = "TASK... | GLOB"
    doc_description = (
        "Publishes to the recipe's `upload.repo`: the model, its card, and the recipe and lock "
        "that made it. Files that are there are not sent; afterwards the Hub's digests are "
        "compared with the model's."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (*Build.cmd_options, opt_dry_run)

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        for recipe in self.selected(project, names):
            if recipe.upload is None:
                raise ForgeError(
                    f"{recipe.name} has no `upload`",
                    f"add to {recipe.file.name}:  upload: {{repo: owner/name}}",
                )
        if params["dry_run"]:
            return self._show(project, names)
        return super().run(project, params, names)

    def _to_publish(self, project: Project, plans: Sequence[Plan]) -> list[Plan]:
        return publishable(project, plans)

    def _show(self, project: Project, names: list[str]) -> int:
        from mlxforge.publishing import preview

        for recipe in self.selected(project, names):
            if project.built(recipe.name) is None:
                raise ForgeError(f"{recipe.name} has not been built", f"doit build {recipe.name}")
            print(preview(project, project.plan(recipe)))
        return 0
