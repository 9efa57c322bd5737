"""What all commands share: finding the project from any folder in it, flags anywhere on the
line, and errors as one or two lines."""

from __future__ import annotations

import contextlib
import gc
import getopt
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParse, CmdParseError
from doit.exceptions import InvalidDodoFile

from mlxforge.errors import ForgeError
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.steps.process import stop_all
from mlxforge.store.store import disk_error

__all__ = ["ForgeCommand", "in_project"]


class _AnywhereParse(CmdParse):  # type: ignore[misc]
    """Options may stand after names: ``doit build demo --continue``."""

    def parse_only(self, in_args: Sequence[str], params: Any = None) -> tuple[Any, list[str]]:
        try:
            options, names = getopt.gnu_getopt(list(in_args), self.get_short(), self.get_long())
        except getopt.GetoptError as error:
            raise CmdParseError(f"{error}; `doit help` lists what there is") from None
        flags: list[str] = []
        for option, value in options:
            taking = self.get_option(option)[0].type is not bool
            flags += [option, value] if taking else [option]
        parsed, _ = super().parse_only(flags, params)
        return parsed, names


class ForgeCommand(DoitCmdBase):  # type: ignore[misc]
    """A command over recipes. Subclasses implement :meth:`run`."""

    base_options: ClassVar[tuple[Any, ...]] = ()
    cmd_options: ClassVar[tuple[Any, ...]] = ()
    _parser: CmdParse | None = None

    @property
    def cmdparser(self) -> CmdParse:
        if self._parser is None:
            self._parser = _AnywhereParse(self.get_options())
        return self._parser

    def execute(self, params: Any, args: list[str]) -> int:
        # a thousand recipes stay as long as we do: no use in looking for garbage among them
        gc.set_threshold(100_000)
        try:
            code = self.run(self._project(params), params, args)
            sys.stdout.flush()
            return code
        except ForgeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        except BrokenPipeError:  # `doit list | head`
            _drop_output()
            return 0
        except OSError as error:
            _drop_output()
            print(f"error: {disk_error(error)}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            stop_all()
            print("\ninterrupted", file=sys.stderr)
            return 130

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        """Do it. Returns the exit status; raises ForgeError for what the user can mend."""
        raise NotImplementedError

    def selected(self, project: Project, names: list[str]) -> list[Recipe]:
        """The recipes that names and globs cover; ForgeError for none or an unknown one."""
        if not names:
            known = ", ".join(sorted(project.book.recipes)) or "none yet"
            raise ForgeError(f"which recipe? doit {self.name} NAME", f"there are: {known}")
        return project.select(names)

    def _project(self, params: Any) -> Project:
        params["seek_file"] = True
        self.loader.setup(params)
        project = self.loader.load_doit_config().get("project")
        if not isinstance(project, Project):
            raise InvalidDodoFile(f"dodo.py holds no recipes, and `{self.name}` needs some")
        return project


def _drop_output() -> None:
    """What is still buffered for standard output cannot be written, and must not be tried again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def in_project(options: dict[str, Any], args: Sequence[str]) -> bool:
    """Whether the dodo.py that doit would load is one of ours.

    Commands from entry points replace doit's own in every project of the environment; where
    the tasks are not recipes, ``run`` and ``list`` must be doit's.
    """
    dodo = Path(options.get("dodoFile") or _file_option(args) or "dodo.py")
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / dodo).is_file():
            with contextlib.suppress(OSError):
                text = (folder / dodo).read_text(errors="replace")
                return re.search(r"^\s*(from|import) mlxforge\b", text, re.MULTILINE) is not None
    return False


def _file_option(args: Sequence[str]) -> str | None:
    for place, word in enumerate(args):
        if word in ("-f", "--file") and place + 1 < len(args):
            return args[place + 1]
        if word.startswith("--file="):
            return word.split("=", 1)[1]
    return None
