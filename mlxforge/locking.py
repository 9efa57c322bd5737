"""Making, checking and moving the locks of a project's recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.lock import (
    Lock,
    LockedFile,
    LockedModel,
    LockedSource,
    LockedText,
    lock_file,
    text_label,
    texts_of,
    widths_of,
    write_lock,
)
from mlxforge.lock.digests import document_digest, model_digest, recipe_digest
from mlxforge.lock.drift import Moved, drift
from mlxforge.models.device import backend
from mlxforge.models.source.loader import Loader, loader_of
from mlxforge.plan import Plan, tool_version, tools_of
from mlxforge.project import Project
from mlxforge.recipe.further import check_there
from mlxforge.recipe.model import Recipe, Text
from mlxforge.sources import local_loader

__all__ = [
    "complete_lock",
    "document_digest",
    "keep_model",
    "lock_now",
    "make_lock",
    "model_digest",
    "moved",
    "recipe_digest",
]

FEW = 5  # names in a message


def lock_now(project: Project, recipe: Recipe, ask: bool = True) -> Lock:
    """What the recipe's names stand for now. ``ask`` the Hub, or keep what its lock says of
    source and data sets; recipes of one source or data set ask once. Widths that were chosen for
    this very recipe stay: they are no moving name."""
    lock = project.lock(recipe) or Lock()
    source = None
    if recipe.source.repo is not None:
        source = _source(project, recipe) if ask else lock.source
    texts = {
        label: _text(project, text, None if ask else lock.texts.get(label))
        for label, text in texts_of(recipe).items()
        if ask or text.path or label in lock.texts
    }
    tools = {name: tool_version(name) for name in tools_of(recipe, _loader(recipe, source))}
    widths = widths_of(recipe, lock)
    return Lock(source, recipe_digest(recipe), tools, texts=texts, widths=widths)


def make_lock(project: Project, recipe: Recipe) -> Path:
    """Lock the recipe to what its names stand for now, whatever its lock said. Widths are left to
    the next build to choose."""
    return _write(project, recipe, replace(lock_now(project, recipe), widths=None))


def complete_lock(project: Project, recipe: Recipe) -> list[str]:
    """Add to the recipe's lock what it names on the Hub and the lock lacks; what the recipe does
    not name any more goes, and nothing else moves. What was added."""
    lock = project.lock(recipe) or Lock()
    named = texts_of(recipe)
    added = [label for label, text in named.items() if text.dataset and label not in lock.texts]
    texts = {label: lock.texts.get(label) or _text(project, text) for label, text in named.items()}
    source = lock.source
    if source is None and recipe.source.repo is not None:
        source = _source(project, recipe)
        added.append(source.repo)
    if added:
        needed = tools_of(recipe, _loader(recipe, source))
        lacking = [name for name in needed if lock.tools and name not in lock.tools]
        tools = {**lock.tools, **{name: tool_version(name) for name in lacking}}
        _write(project, recipe, replace(lock, source=source, tools=tools, texts=texts))
    return added


def moved(project: Project, recipe: Recipe, lock: Lock, ask: bool = True) -> list[Moved]:
    """What has moved since ``lock`` was made; the built model included, where there is one."""
    return drift(lock, replace(lock_now(project, recipe, ask), models=_built(project, recipe)))


def keep_model(project: Project, plan: Plan) -> str | None:
    """Compare the finished model with what the recipe's lock says of it.

    The first model of a locked recipe is written into the lock, and what was done is returned in
    words. Raises ForgeError where the lock knows another model for this very recipe.
    """
    recipe = plan.recipe
    lock = project.lock(recipe)
    artifact = project.find(plan.quantize)
    if lock is None or artifact is None:
        return None
    made, known = artifact.manifest.digest, lock.models.get(backend())
    wanted = model_digest(recipe.document)
    if known is not None and (known.digest, known.recipe, lock.recipe) == (
        made, wanted, recipe_digest(recipe),
    ):  # fmt: skip
        return None
    now = lock_now(project, recipe, ask=False)
    same = {
        name: model
        for name, model in lock.models.items()
        if (model.recipe == wanted if model.recipe else lock.recipe == now.recipe)
    }
    if known is not None and known.digest != made and backend() in same:
        changed = drift(lock, replace(now, texts=_learned_from(recipe, lock, now)))
        raise _another_model(recipe, known, artifact.data, changed)
    from mlxforge.models.digests import tensor_digests

    if known is not None and known.digest == made:
        model = replace(known, recipe=wanted)
    else:
        model = LockedModel(made, tensor_digests(artifact.data), wanted)
    path = _write(project, recipe, replace(now, models={**same, backend(): model}))
    why = "" if lock.recipe in (None, now.recipe) else ", the recipe has changed"
    return f"{path.name}: model {made[:12]} on {backend()}{why}"


def _learned_from(recipe: Recipe, lock: Lock, now: Lock) -> Mapping[str, LockedText | LockedFile]:
    """The texts as they are now that a model can be made of, the others as they were."""
    if recipe.calibrate is None or recipe.calibrate.text is None:
        return lock.texts
    label = text_label(recipe, "calibrate")
    return {**lock.texts, label: now.texts[label]} if label in now.texts else lock.texts


def _another_model(
    recipe: Recipe, known: LockedModel, data: Path, changed: Sequence[Moved]
) -> ForgeError:
    from mlxforge.models.digests import tensor_digests

    found = tensor_digests(data)
    names = sorted(known.tensors.keys() | found.keys())
    other = [name for name in names if known.tensors.get(name) != found.get(name)]
    what = f"{len(other)} of {len(names)} tensors differ ({_some(other)})" if other else (
        "all tensors are the same, a file beside them is not"
    )  # fmt: skip
    why = "; ".join(map(str, changed)) or (
        "recipe, source and tools are the same: the machine, its BLAS or a file of the store is not"
        if recipe.source.path is None  # which no lock pins
        else "recipe and tools are the same: the source's files, the machine or its BLAS are not"
    )
    return ForgeError(
        f"this is not the model in {recipe.name}.lock: {what}; {why}",
        f"`doit lock --upgrade {recipe.name}` accepts the new one",
    )


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def _built(project: Project, recipe: Recipe) -> dict[str, LockedModel]:
    """The model that the recipe makes now, if it is in the store; without its tensors."""
    try:
        plan = project.plan_unread(recipe)
    except ForgeError:
        return {}
    artifact = project.find(plan.quantize) if plan else None
    return {backend(): LockedModel(artifact.manifest.digest, {})} if artifact else {}


def _write(project: Project, recipe: Recipe, lock: Lock) -> Path:
    path = lock_file(recipe.file, recipe.name)
    write_lock(path, recipe.name, lock)
    return path


def _loader(recipe: Recipe, source: LockedSource | None) -> Loader:
    if recipe.source.path is not None:
        return local_loader(recipe.source.path)
    return source.loader if source else "mlx_lm"


def _source(project: Project, recipe: Recipe) -> LockedSource:
    assert recipe.source.repo is not None
    from mlxforge.hub.client import wanted_files
    from mlxforge.models.source.files import read_config
    from mlxforge.models.source.load import check_config

    repo, revision, further = recipe.source.repo, recipe.source.revision, recipe.source.further
    found = project.resolved(repo, revision, _resolve)
    check_there(further, found.files, recipe.positions, f"{repo} at {revision}")
    config = read_config(found.folder)
    check_config(found.folder, config, further.remote_code)
    files = wanted_files(found.files, further)
    return LockedSource(repo, revision, found.commit, files, further, loader_of(config))


def _text(
    project: Project, text: Text, known: LockedText | LockedFile | None = None
) -> LockedText | LockedFile:
    """What a text is now; of a data set, what is ``known`` already."""
    if text.path is not None:
        local = project.file(text.path, text.at)
        return LockedFile(text.path.stat().st_size, local.key)
    if known is not None:
        return known
    from mlxforge.hub.datasets import look, resolve_text

    assert text.dataset is not None
    try:
        found = resolve_text(
            text.dataset,
            text.config,
            text.split,
            lambda dataset, revision: project.resolved(dataset, revision, look),
        )
    except ForgeError as error:
        raise ForgeError(error.message, error.hint, error.at or text.at) from error
    return LockedText(**vars(found))


@dataclass(frozen=True)
class _Found:
    """A commit of a model's repository: all its files, and the folder with its config."""

    commit: str
    files: Mapping[str, dict[str, Any]]
    folder: Path


def _resolve(repo: str, revision: str) -> _Found:
    """The config is fetched: by it a model that cannot be built here is refused before its
    weights are."""
    from mlxforge.hub.client import fetch_file, resolve

    commit, files = resolve(repo, revision)
    if "config.json" not in files:
        raise ForgeError(f"{repo} at {revision} has no config.json")
    folder = fetch_file(repo, commit, "config.json", files["config.json"]).parent
    return _Found(commit, files, folder)
