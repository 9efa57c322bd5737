"""Recipes as they were read before: a folder with a thousand is not parsed at every command.

The memory is one JSON file::

    {"made_by": […],
     "files": {"recipes/a.yaml": {"parents": ["recipes/_base.yaml"], "digest": "5d0c…",
                                  "named_at": null, "recipes": [{"name": "a", …}]}}}

It is a hint and nothing more: an entry counts only for the very bytes that it was made from, those
of the file and of all its parents, so it never needs invalidation and may be deleted at any time.
``made_by`` stands for all else that a recipe hangs on: the code that reads it, and where it lies.
What is only looked at to be shown is not in it, and is read from the file when it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlxforge
from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.extends import Shelf
from mlxforge.recipe.further import Further
from mlxforge.recipe.methods import SECTIONS
from mlxforge.recipe.model import (
    Calibrate,
    Evaluate,
    Override,
    Quantize,
    Recipe,
    Requirement,
    Source,
    Text,
    Upload,
)
from mlxforge.recipe.schema import schema_file

__all__ = ["Memory"]

Again = Callable[[Path], Mapping[str, Recipe]]


class Memory:
    """``again(file)`` reads a file's recipes anew, from the bytes that ``shelf`` has of it."""

    def __init__(self, path: Path, shelf: Shelf, again: Again) -> None:
        self._path = path
        self._shelf = shelf
        self._again = again
        self._made_by = _made_by(shelf)
        self._known = self._load()
        self._kept: dict[str, Any] = {}
        self._fresh = False

    def recall(self, file: Path) -> tuple[dict[str, Recipe], Position | None] | None:
        """The file's recipes, and where their matrix names them; None where they are not known."""
        label = self._shelf.label(file)
        try:
            entry = self._known[label]
            chain = [file, *(self._shelf.root / parent for parent in entry["parents"])]
            if self._digest(chain) != entry["digest"]:
                return None
            recipes = {raw["name"]: self._recipe(raw, file) for raw in entry["recipes"]}
            named_at = _position(entry["named_at"])
        except (ForgeError, KeyError, TypeError, ValueError):
            return None
        self._kept[label] = entry
        return recipes, named_at

    def keep(self, file: Path, recipes: Mapping[str, Recipe], named_at: Position | None) -> None:
        chain = self._shelf.chain(file)
        self._kept[self._shelf.label(file)] = {
            "parents": [os.path.relpath(parent, self._shelf.root) for parent in chain[1:]],
            "digest": self._digest(chain),
            "named_at": named_at,
            "recipes": list(recipes.values()),
        }
        self._fresh = True

    def save(self) -> None:
        """Write down what was recalled or kept, where it is not written already."""
        if not self._fresh and len(self._kept) == len(self._known):
            return
        text = json.dumps({"made_by": self._made_by, "files": self._kept}, default=_plain)
        import tempfile

        with contextlib.suppress(OSError):  # only a hint: the files are read again next time
            file = tempfile.NamedTemporaryFile(  # noqa: SIM115
                "w", dir=self._path.parent, prefix=f".{self._path.name}-", delete=False
            )
            try:
                with file:
                    file.write(text)
                os.replace(file.name, self._path)
            except OSError:
                os.unlink(file.name)

    def _load(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_bytes())
            return dict(known["files"]) if known["made_by"] == self._made_by else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _digest(self, chain: list[Path]) -> str:
        total = hashlib.sha256()
        for file in chain:
            data = self._shelf.bytes_of(file)
            total.update(b"%d\n" % len(data) + data)
        return total.hexdigest()

    def _recipe(self, raw: Mapping[str, Any], file: Path) -> Recipe:
        name, source, quantize = raw["name"], raw["source"], raw["quantize"]
        rules = tuple(Override(**_placed(rule)) for rule in quantize["overrides"])
        sections = {name: _section(name, quantize[name]) for name in SECTIONS}
        return Recipe(
            name=name,
            file=file,
            source=_source(source),
            quantize=Quantize(**{**_placed(quantize), "overrides": rules, **sections}),
            calibrate=_calibrate(raw["calibrate"]),
            evaluate=_evaluate(raw["evaluate"]),
            upload=Upload(**raw["upload"]) if raw["upload"] else None,
            document=_Later(lambda: self._again(file)[name].document),
            positions=_Later(lambda: self._again(file)[name].positions),
        )


class _Later(Mapping[Any, Any]):
    """A mapping that is made when it is first looked into."""

    def __init__(self, make: Callable[[], Mapping[Any, Any]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[Any, Any]:
        return self._make()

    def __getitem__(self, key: Any) -> Any:
        return self._made[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _made_by(shelf: Shelf) -> list[Any]:
    """Versions, the facts of the modules here, of the schema and of PyYAML, the folders' places."""
    code = sorted(Path(__file__).parent.glob("*.py"))
    yaml = find_spec("yaml")  # to import it takes as long as to recall a hundred recipes
    assert yaml and yaml.origin
    facts = [path.stat() for path in (*code, schema_file(), Path(yaml.origin))]
    sizes = [[fact.st_size, fact.st_mtime_ns] for fact in facts]
    versions = [sys.version, mlxforge.__version__]
    return [*versions, str(shelf.root), str(shelf.folder), sizes]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Position):
        return [value.file, value.line, value.column]
    left_out = ("file", "document", "positions") if isinstance(value, Recipe) else ()
    return {key: item for key, item in vars(value).items() if key not in left_out}


_path = cache(lambda text: None if text is None else Path(text))


def _position(raw: Any) -> Position | None:
    return None if raw is None else Position(*raw)


def _placed(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {**raw, "at": _position(raw["at"])}


def _section(name: str, raw: Mapping[str, Any] | None) -> Any:
    return SECTIONS[name](**raw) if raw else None


def _source(raw: Mapping[str, Any]) -> Source:
    further = Further(**{key: tuple(names) for key, names in raw["further"].items()})
    return Source(**{**_placed(raw), "path": _path(raw["path"]), "further": further})


def _text(raw: Mapping[str, Any] | None) -> Text | None:
    return None if raw is None else Text(**{**_placed(raw), "path": _path(raw["path"])})


def _calibrate(raw: Mapping[str, Any] | None) -> Calibrate | None:
    return None if raw is None else Calibrate(**{**raw, "text": _text(raw["text"])})


def _evaluate(raw: Mapping[str, Any] | None) -> Evaluate | None:
    if raw is None:
        return None
    changed = {
        "text": _text(raw["text"]),
        "metrics": tuple(raw["metrics"]),
        "prompts": tuple(raw["prompts"]),
        "images": None if raw["images"] is None else tuple(raw["images"]),
        "require": tuple(Requirement(**_placed(gate)) for gate in raw["require"]),
    }
    return Evaluate(**{**raw, **changed})
