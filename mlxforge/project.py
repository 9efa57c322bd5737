"""A project: the folder with dodo.py, its recipes, and the store that they are built into."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mlxforge.errors import ForgeError, Position
from mlxforge.local import Local, LocalFiles, NotRead
from mlxforge.lock import Lock, lock_file, read_lock
from mlxforge.plan import Node, Plan, Planner
from mlxforge.recipe.further import Further
from mlxforge.recipe.load import Book, load_book, load_named
from mlxforge.recipe.model import Recipe
from mlxforge.store.garbage import Garbage, remove
from mlxforge.store.hashes import FileHashes
from mlxforge.store.store import Artifact, Store, disk_error

__all__ = ["Built", "Project"]

Answer = TypeVar("Answer")


class _Unread:
    """Local files, as far as their digests are known already."""

    def __init__(self, local: LocalFiles) -> None:
        self._local = local

    def folder(self, path: Path, at: Position | None, further: Further) -> Local:
        return self._local.folder(path, at, further, read=False)

    def file(self, path: Path, at: Position | None) -> Local:
        return self._local.file(path, at, read=False)


@dataclass(frozen=True)
class Built:
    """What a recipe's last finished build made: its keys, by the steps' names (see
    Plan.names), and its figures."""

    keys: Mapping[str, str]
    figures: Mapping[str, Any]


class Project:
    def __init__(self, root: Path, seen_from: Path | None = None) -> None:
        self.root = root
        self.seen_from = seen_from or Path.cwd()  # where paths are shown from
        self.recipes_folder = root / "recipes"
        self.store = Store(root / "cache")
        # told how many files and bytes will be hashed; the command line puts its own here
        self.announce: Callable[[int, int], None] = lambda files, size: None
        hashes = FileHashes(self.store.root / "hashes.json")
        self._local = LocalFiles(hashes, lambda files, size: self.announce(files, size))
        self._planner = Planner()
        self._found: dict[str, Artifact] = {}
        self._resolved: dict[Hashable, Any] = {}

    @cached_property
    def book(self) -> Book:
        return load_book(self.recipes_folder, self.root, self.store.root / "recipes.json")

    def select(self, patterns: Sequence[str]) -> list[Recipe]:
        """The recipes that names and globs cover (see :meth:`Book.select`). Where each name has a
        file of its own, no other is read."""
        found = load_named(self.recipes_folder, self.root, patterns)
        return self.book.select(patterns) if found is None else found

    def lock(self, recipe: Recipe) -> Lock | None:
        """The recipe's lock, where it has one."""
        return read_lock(lock_file(recipe.file, recipe.name), self.root)

    def resolved(self, repo: str, revision: str, ask: Callable[[str, str], Answer]) -> Answer:
        """What the Hub says of a revision, asked once: all recipes get one commit."""
        question = (ask, repo, revision)
        if question not in self._resolved:
            self._resolved[question] = ask(repo, revision)
        answer: Answer = self._resolved[question]
        return answer

    def plan(self, recipe: Recipe) -> Plan:
        """The recipe's steps; hashes local files that are not known yet."""
        return self._planner.plan(recipe, self.lock(recipe), self._local)

    def plan_unread(self, recipe: Recipe) -> Plan | None:
        """As :meth:`plan`, but None where that would need a file to be hashed."""
        try:
            return self._planner.plan(recipe, self.lock(recipe), _Unread(self._local))
        except NotRead:
            return None

    def file(self, path: Path, at: Position | None) -> Local:
        """A text outside the store; ForgeError where there is none."""
        return self._local.file(path, at)

    def sha256(self, path: Path) -> str:
        """The digest of a file outside the store; each version of it is read once."""
        return self._local.sha256(path)

    def find(self, node: Node) -> Artifact | None:
        """The step's artifact. Once found it is not looked for again: only `doit gc --delete`
        removes any, and never while a build is running."""
        found = self._found.get(node.key) or self.store.find(node.kind, node.key)
        if found is not None:
            self._found[node.key] = found
        return found

    def discard(self, node: Node) -> None:
        """Take the step's artifact out of the store: what it was made from was wrong."""
        if artifact := self._found.pop(node.key, None) or self.store.find(node.kind, node.key):
            remove(self.store, Garbage(node.kind, node.key, artifact.folder, 0))

    def done(self, node: Node) -> bool:
        """Whether the step's artifact is in the store (and, of a download, the files are too)."""
        if self.find(node) is None:
            return False
        return node.step.complete()

    def path_of(self, node: Node | Local) -> Path:
        """Where a step finds this input; ForgeError where it is not there."""
        if isinstance(node, Local):
            return node.path
        artifact = self.find(node)
        if artifact is None or not self.done(node):
            raise ForgeError(f"not run, because {node.kind} has not been finished")
        return node.step.result(artifact.data)

    def model_link(self, name: str) -> Path:
        """The stable path of a recipe's finished model."""
        return self.store.root / "models" / name

    def built(self, name: str) -> Built | None:
        try:
            raw = json.loads((self.store.root / "built" / f"{name}.json").read_bytes())
            figures = dict(raw["figures"])
            figures["bytes"], figures["bits_per_weight"]  # a damaged record is as good as none
            return Built(dict(raw["keys"]), figures)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, plan: Plan, figures: Mapping[str, Any]) -> None:
        """Record a finished build and point the recipe's stable path at its model."""
        name = plan.recipe.name
        built = Built({name: key for key, name in plan.names.items()}, figures)
        link = self.model_link(name)
        target = os.path.relpath(self.path_of(plan.quantize), link.parent)
        try:
            if self.built(name) != built:
                record = json.dumps(vars(built), indent=1, sort_keys=True)
                _replace_text(self.store.root / "built" / f"{name}.json", record + "\n")
            _replace_link(link, target)
        except OSError as error:
            raise disk_error(error) from error


def _replace_text(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_text(text)
    os.replace(staged, path)


def _replace_link(path: Path, target: str) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(path) == target:
            return
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    staged.symlink_to(target)
    os.replace(staged, path)
