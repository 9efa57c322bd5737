"""A merged document -> Recipe: what the schema cannot say is checked here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.defaults import complete, in_use
from mlxforge.recipe.draft import Draft
from mlxforge.recipe.further import further_of
from mlxforge.recipe.gates import requirements
from mlxforge.recipe.methods import learning
from mlxforge.recipe.model import Calibrate, Evaluate, Recipe, Source, Text, Upload
from mlxforge.recipe.names import check_repo
from mlxforge.recipe.quantization import quantization
from mlxforge.recipe.schema import NOT_IN_DOCUMENT
from mlxforge.recipe.tree import Node, plain, positions
from mlxforge.recipe.words import dotted, quoted

__all__ = ["build"]


def build(name: str, file: Path, tree: Node, root: Path) -> Recipe:
    """The recipe in ``tree``, which has passed the schema. Positions are relative to ``root``."""
    parts = {key: node for key, node in tree.value.items() if key not in NOT_IN_DOCUMENT}
    tree = Node(parts, tree.at, tree.key_at)
    draft = Draft(complete(plain(tree)), tree, root)
    return Recipe(
        name=name,
        file=file,
        source=_source(draft),
        quantize=quantization(draft),
        calibrate=_calibrate(draft),
        evaluate=_evaluate(draft),
        upload=_upload(draft),
        document=in_use(draft.document),
        positions=positions(tree),
    )


def _source(draft: Draft) -> Source:
    if not draft.wrote("source"):
        hint = "source: {repo: owner/name}, or source: {path: ../models/mine}"
        raise ForgeError("the recipe has no source", hint, draft.at("source"))
    kind = _origin(draft, ("source",), "repo", ("revision",))
    further = further_of(draft)
    if kind == "path":
        at = draft.at("source", "path")
        return Source(path=draft.resolved("source", "path"), further=further, at=at)
    values = draft.document["source"]
    at = draft.at("source", "repo")
    check_repo(values["repo"], "source.repo", at)
    return Source(repo=values["repo"], revision=values["revision"], further=further, at=at)


def _calibrate(draft: Draft) -> Calibrate | None:
    """None too where nothing is made of it: recipes of one family may learn or not."""
    values = draft.document["calibrate"]
    found = values and Calibrate(**{**values, "text": _text(draft, "calibrate")})
    return found if learning(draft.document["quantize"]) else None


def _evaluate(draft: Draft) -> Evaluate | None:
    values = draft.document["evaluate"]
    if values is None:
        return None
    changed: dict[str, Any] = {
        "text": _text(draft, "evaluate"),
        "metrics": tuple(values["metrics"]),
        "prompts": tuple(values["prompts"]),
        "images": None if values["images"] is None else tuple(values["images"]),
        "require": requirements(draft),
    }
    return Evaluate(**{**values, **changed})


def _text(draft: Draft, section: str) -> Text | None:
    path = (section, "text")
    values = draft.document[section]["text"]
    if values is None:
        return None
    if not draft.wrote(*path):  # a default
        return Text(**values)
    kind = _origin(draft, path, "dataset", ("config", "split", "column"))
    if kind == "path":
        return Text(path=draft.resolved(*path, "path"), at=draft.at(*path))
    name = dotted((*path, "dataset"))
    check_repo(values["dataset"], name, draft.at(*path, "dataset"), owner=False)
    return Text(**values, at=draft.at(*path))


def _upload(draft: Draft) -> Upload | None:
    values = draft.document["upload"]
    if values is None:
        return None
    if values["repo"] is None:
        raise ForgeError("upload has no repo", "upload: {repo: owner/name}", draft.at("upload"))
    check_repo(values["repo"], "upload.repo", draft.at("upload", "repo"))
    if values["repo"] == draft.document["source"]["repo"]:
        message = f"upload.repo is the source itself, {quoted(values['repo'])}"
        raise ForgeError(message, "publish to a repository of its own", draft.at("upload", "repo"))
    if values["pull_request"] and values["branch"] != "main":
        message = f"a pull request goes to main, not to {quoted(values['branch'])}"
        raise draft.misplaced(message, "leave upload.branch out", "upload", "branch")
    return Upload(**values)


def _origin(draft: Draft, path: tuple[str, ...], remote: str, details: tuple[str, ...]) -> str:
    """``path`` or ``remote``, whichever was written; ForgeError unless it is exactly one.

    ``details`` are keys that only ``remote`` has.
    """
    name = dotted(path)
    local = draft.wrote(*path, "path")
    if not local and not draft.wrote(*path, remote):
        hint = f"write {name}.path or {name}.{remote}"
        raise ForgeError(f"{name} has neither path nor {remote}", hint, draft.at(*path))
    if not local:
        return remote
    if draft.wrote(*path, remote):
        later = max(("path", remote), key=lambda key: draft.key_at(*path, key))
        raise draft.misplaced(f"{name} has both path and {remote}", "leave one out", *path, later)
    for key in details:
        if draft.wrote(*path, key):
            hint = f"it belongs to a {remote}"
            raise draft.misplaced(f"{name}.{key} has no place beside a path", hint, *path, key)
    return "path"
