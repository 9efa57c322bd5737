"""The recipes of a folder, each usable or with the error that says why not."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from mlxforge.errors import ForgeError, Position, did_you_mean
from mlxforge.recipe.model import Recipe

if TYPE_CHECKING:
    from mlxforge.recipe.extends import Shelf
    from mlxforge.recipe.memory import Memory

__all__ = ["Book", "load_book", "load_named"]


@dataclass(frozen=True)
class Book:
    """Recipes by name, and what is wrong with the files that gave none, by their stem."""

    recipes: Mapping[str, Recipe]
    errors: Mapping[str, ForgeError]

    def get(self, name: str) -> Recipe:
        """The recipe; its own error where it is broken."""
        if name in self.recipes:
            return self.recipes[name]
        if name in self.errors:
            raise self.errors[name]
        made = [recipe.name for recipe in self.recipes.values() if recipe.file.stem == name]
        if made:
            raise ForgeError(f"{name!r} is a matrix, not a recipe", f"it makes {', '.join(made)}")
        known = sorted({*self.recipes, *self.errors})
        raise ForgeError(f"no recipe {name!r}", did_you_mean(name, known))

    def select(self, patterns: Sequence[str]) -> list[Recipe]:
        """What names and globs cover, each recipe once, in the order asked for.

        ForgeError for an unknown name, a glob that covers nothing, or a broken recipe.
        """
        names: dict[str, None] = {}
        for pattern in patterns:
            if not _is_glob(pattern):
                names[pattern] = None
                continue
            covered = [n for n in (*self.recipes, *self.errors) if fnmatchcase(n, pattern)]
            if not covered:
                raise ForgeError(f"no recipe matches {pattern!r}")
            names.update(dict.fromkeys(covered))
        return [self.get(name) for name in names]


def load_book(folder: Path, root: Path, remembered: Path | None = None) -> Book:
    """Every ``*.yaml`` directly in ``folder``, except the ``_fragments``; positions from ``root``.

    A broken file costs only its own recipes. A folder that does not exist holds no recipes.
    ``remembered`` is the file of a :class:`~mlxforge.recipe.memory.Memory`.
    """
    from mlxforge.recipe.extends import Shelf
    from mlxforge.recipe.memory import Memory

    folder, root = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    shelf = Shelf(folder, root)
    files = _files(folder)
    stems = {file.stem: shelf.start_of(file) for file in files if file.suffix == ".yaml"}
    recipes: dict[str, Recipe] = {}
    errors: dict[str, ForgeError] = {}
    taken = dict(stems)
    memory = Memory(remembered, shelf, lambda file: _load(file, shelf, {})) if remembered else None
    for file in files:
        try:
            made = _recalled(file, memory, stems, taken) or _load(file, shelf, taken, memory)
        except ForgeError as error:
            key = file.name if file.suffix == ".yml" and file.stem in stems else file.stem
            errors[key] = error
        else:
            recipes.update(made)
    if memory:
        memory.save()
    return Book(recipes, errors)


def _recalled(
    file: Path, memory: Memory | None, stems: Mapping[str, Position], taken: dict[str, Position]
) -> dict[str, Recipe] | None:
    """What :func:`_load` would give, without reading; None where the file has to be read."""
    found = memory.recall(file) if memory and file.stem in stems else None
    if found is None:
        return None
    recipes, named_at = found
    start = stems[file.stem]
    if any(taken.get(name, start) != start for name in recipes):
        return None
    if named_at is not None:
        taken.update(dict.fromkeys(recipes, named_at))
    return recipes


def load_named(folder: Path, root: Path, names: Sequence[str]) -> list[Recipe] | None:
    """The recipes of these names as :func:`load_book` has them, each once, without a look at any
    other file. None where only the whole folder can tell: for a glob, a name that a matrix may
    have made, a broken recipe.
    """
    from mlxforge.recipe.extends import Shelf

    folder, root = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    shelf = Shelf(folder, root)
    files = {file.stem: file for file in _files(folder) if file.suffix == ".yaml"}
    found: list[Recipe] = []
    for name in dict.fromkeys(names):
        if name not in files or _is_glob(name):
            return None
        try:
            made = _load(files[name], shelf, {})
        except ForgeError:
            return None
        if list(made) != [name]:
            return None
        found += made.values()
    return found


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def _files(folder: Path) -> list[Path]:
    """In the order of their names. Hidden files are not ours: editors and macOS leave such."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ForgeError(f"cannot read {folder}: {error.strerror}") from None
    return [
        folder / name
        for name in names
        if name.endswith((".yaml", ".yml")) and not name.startswith((".", "_"))
    ]


def _load(
    file: Path, shelf: Shelf, taken: dict[str, Position], memory: Memory | None = None
) -> dict[str, Recipe]:
    """The recipes of one file by name. ``taken`` says where names come from and is added to."""
    from mlxforge.recipe.build import build
    from mlxforge.recipe.matrix import expand
    from mlxforge.recipe.names import check_name
    from mlxforge.recipe.problems import check

    start = shelf.start_of(file)
    if file.suffix == ".yml":
        raise ForgeError("recipes end in .yaml", f"rename it to {file.stem}.yaml", start)
    check_name(file.stem, start)
    tree = shelf.merged(file)
    check(tree)
    recipes: dict[str, Recipe] = {}
    named: dict[str, Position] = {}
    for name, document in expand(tree, shelf.read(file)):
        if name is not None:
            at = tree.value["name"].at
            check_name(name, at)
            other = named.get(name, taken.get(name, start))
            if other != start:
                message = f"name makes {name!r}, which {other} has taken"
                raise ForgeError(message, "change one of the two", at)
            named[name] = at
        recipes[name or file.stem] = build(name or file.stem, file, document, shelf.root)
    taken.update(named)
    if memory:
        memory.keep(file, recipes, next(iter(named.values()), None))
    return recipes
