"""Which files of code may run in this process: none, unless a recipe has named them.

Said once, before anything is loaded, in the process of a step. Whatever of ours makes a model or a
tokenizer through mlx_lm asks here, so that no code runs that was not named. That nothing else can
be imported from the model's folder is the business of mlxforge.steps.remote_code.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.source import vision
from mlxforge.models.source.files import read_config
from mlxforge.models.source.loader import loader_of

__all__ = ["load_model", "may_run", "not_named", "tokenizer_may_run", "trust", "trusted"]

_trusted: frozenset[str] = frozenset()


def trust(names: Collection[str]) -> None:
    """From now on, Python files of these names in a model's folder may run in this process."""
    global _trusted
    _trusted = frozenset(names)


def trusted() -> frozenset[str]:
    return _trusted


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model of ``folder`` with its config, made by mlx_lm or mlx_vlm, no weight read; an
    architecture of the folder's own only where its file may run."""
    config = read_config(folder)
    own = config.get("model_file")
    trusts = bool(_trusted) and may_run(own, _trusted)
    if loader_of(config) == "mlx_vlm":
        if own is not None and not trusts:  # mlx_vlm runs it without being asked
            raise ForgeError(f"{folder} needs its own code ({own!r}), which is not run")
        return vision.load_model(folder)
    from mlx_lm import utils

    model, config = utils.load_model(folder, lazy=True, trust_remote_code=trusts)
    return model, config


def may_run(name: Any, trusted: Collection[str]) -> bool:
    """``name`` is whatever a source says that it runs."""
    return isinstance(name, str) and name in trusted


def tokenizer_may_run(folder: Path) -> bool:
    """Whether the tokenizer of ``folder`` brings code that runs.

    Where the recipe names code, ForgeError for a file that the tokenizer would run besides:
    transformers knows only all or nothing, and takes a config's own class along.
    """
    if not _trusted:
        return False
    wanted = list(_references(folder, "tokenizer_config.json", "AutoTokenizer"))
    wanted += _references(folder, "config.json", "AutoTokenizer")
    if not wanted:
        return False
    for reference in [*wanted, *_references(folder, "config.json", "AutoConfig")]:
        # "module.Class", and "owner/name--module.Class" for code in another repository
        file = f"{reference.rpartition('.')[0]}.py"
        if file not in _trusted:
            raise not_named(folder, file)
    return True


def not_named(folder: Path, file: str) -> ForgeError:
    elsewhere = "--" in file
    return ForgeError(
        f"the tokenizer in {folder} runs {file!r}, which source.remote_code does not name",
        "code of another repository is not run" if elsewhere else "name it where you trust it",
    )


def _references(folder: Path, file: str, kind: str) -> Iterator[str]:
    """What ``auto_map`` says of ``kind``: one class, or a slow and a fast one."""
    try:
        found = json.loads((folder / file).read_bytes())
        classes = found.get("auto_map") or {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # the loader will say what is wrong
    if isinstance(classes, dict):
        classes = classes.get(kind)
    elif kind != "AutoTokenizer":
        return  # a bare list is an old way to name tokenizers
    for reference in classes if isinstance(classes, list) else [classes]:
        if isinstance(reference, str):
            yield reference
