"""`doit list`: every recipe and what there is of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from doit.cmd_list import List as DoitList

from mlxforge.errors import ForgeError
from mlxforge.project import Project
from mlxforge.report.table import print_table
from mlxforge.tasks.commands.base import ForgeCommand, in_project
from mlxforge.tasks.status import status_of
from mlxforge.units import readable_bytes

__all__ = ["List", "ListRecipes"]

opt_quiet = {
    "name": "quiet",
    "short": "q",
    "long": "quiet",
    "type": bool,
    "default": False,
    "help": "names only, one a line",
}


class ListRecipes(ForgeCommand):
    name = "list"
    doc_purpose = "list recipes: built, stale or missing, size, bits per weight, perplexity"
    doc_usage = "[TASK... | GLOB]"
    cmd_options = (opt_quiet,)

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        book = project.book
        if params["quiet"]:
            print("\n".join(book.recipes))
            return 0
        wanted = {recipe.name for recipe in book.select(names)} if names else None
        rows = [row for row in _rows(project) if wanted is None or row[0] in wanted]
        if not rows:
            print(f"no recipes in {project.recipes_folder}")
            return 0
        heads = ("recipe", "state", "size", "bits/weight", "perplexity", "source")
        print_table(heads, rows, right=(2, 3, 4))
        if wanted is None:
            for error in book.errors.values():
                print(f"error: {error}")
        return 0


def _rows(project: Project) -> Iterator[tuple[str, ...]]:
    for name, recipe in sorted(project.book.recipes.items()):
        try:
            state, built = status_of(project, recipe)
        except ForgeError:
            state, built = "cannot be built", None
        source = recipe.source.repo or _source(project, recipe.source.path)
        yield (name, state, *_figures(built.figures if built else {}), source)


def _source(project: Project, path: Any) -> str:
    return str(path.relative_to(project.root) if path.is_relative_to(project.root) else path)


def _figures(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    if not figures:
        return "", "", ""
    perplexity = figures.get("figures", {}).get("perplexity")
    return (
        readable_bytes(figures["bytes"]),
        f"{figures['bits_per_weight']:.2f}",
        f"{perplexity['value']:#.4g}" if perplexity else "",
    )


class List(DoitList):  # type: ignore[misc]
    """doit's `list`, except among recipes."""

    def parse_execute(self, in_args: list[str]) -> int:
        if not in_project(self.opt_vals, in_args):
            code: int = super().parse_execute(in_args)
            return code
        command = ListRecipes(
            task_loader=self.loader,
            config=self.config,
            bin_name=self.bin_name,
            opt_vals=self.opt_vals,
        )
        return command.parse_execute(in_args)  # type: ignore[no-any-return]
