"""Code from a source, run by a step whose recipe names its files, and by no other.

Such a step is not given the model's folder itself but a view of it: the files that lock or digest
stand for, the named code as copies and the rest as links. So nothing else can be imported from
beside the model, be it a module that was not named or bytecode that somebody left there, and what
Python writes beside a module does not land in the source, in the Hub's cache or in an artifact.
transformers copies what it runs as well; that too stays beside the step's output. All of it is
removed when the step ends.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlxforge.errors import ForgeError
from mlxforge.models.source.files import is_source_file
from mlxforge.models.source.trust import trust
from mlxforge.steps.base import Step
from mlxforge.steps.source import SourceStep

__all__ = ["remove_views", "with_remote_code"]

MODELS = ("source", "model")
"""Inputs that are folders of models."""


@contextmanager
def with_remote_code(
    step: Step, inputs: Mapping[str, Path], out: Path
) -> Iterator[Mapping[str, Path]]:
    """The inputs that ``step`` is to read, and trust in the code that it names. Once in a
    process, before transformers is imported."""
    if not isinstance(step, SourceStep) or not step.remote_code:
        yield inputs
        return
    if "transformers" in sys.modules:
        raise RuntimeError("with_remote_code() must be entered before transformers is imported")
    place = _place(out)
    os.environ["HF_MODULES_CACHE"] = str(place / "modules")
    views = {name: place / name for name in inputs if name in MODELS}
    for name, view in views.items():
        _make_view(step, inputs[name], view)
    trust(step.remote_code)
    try:
        yield {**inputs, **views}
    except ForgeError as error:
        message = error.message
        for name, view in views.items():
            message = message.replace(str(view), str(inputs[name]))
        raise ForgeError(message, error.hint, error.at) from error


def remove_views(step: Step, out: Path) -> None:
    """After the end of the step's process, however it ended."""
    if isinstance(step, SourceStep) and step.remote_code:
        shutil.rmtree(_place(out), ignore_errors=True)


def _place(out: Path) -> Path:
    return out.with_name("remote-code")


def _make_view(step: SourceStep, folder: Path, view: Path) -> None:
    view.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name in step.remote_code:
            shutil.copyfile(path, view / path.name)
        elif path.is_file() and (is_source_file(path.name) or path.name in step.files):
            (view / path.name).symlink_to(path.absolute())
