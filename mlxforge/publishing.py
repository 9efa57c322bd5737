"""Publishing a finished model: its files, its card, and the recipe and lock that made it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlxforge import __version__
from mlxforge.errors import ForgeError
from mlxforge.locking import recipe_digest
from mlxforge.plan import Plan
from mlxforge.portable import portable_lock, portable_recipe
from mlxforge.progress import Progress
from mlxforge.project import Project
from mlxforge.recipe.model import Recipe
from mlxforge.recipe.model import Upload as Wanted
from mlxforge.report.card import model_card
from mlxforge.report.facts import card_facts
from mlxforge.report.upload import dry_run_lines
from mlxforge.steps.process import run_in_process
from mlxforge.steps.upload import Upload
from mlxforge.store.keys import digest

__all__ = [
    "Publication",
    "check_target",
    "fingerprint",
    "is_published",
    "preview",
    "publication",
    "publish",
]

CARD = "README.md"


@dataclass(frozen=True)
class Publication:
    """What is to be published of a finished build. ``model``: names -> sha256, as built; ``texts``
    are made for it."""

    plan: Plan
    wanted: Wanted
    folder: Path
    model: Mapping[str, str]
    model_digest: str
    texts: Mapping[str, bytes]

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file."""
        made = {name: hashlib.sha256(text).hexdigest() for name, text in self.texts.items()}
        return {**self.model, **made}

    def stage(self, folder: Path) -> None:
        """Put all files into ``folder``; the model's as links."""
        for name in self.model:
            (folder / name).symlink_to(self.folder / name)
        for name, text in self.texts.items():
            with (folder / name).open("xb") as file:
                file.write(text)

    def step(self) -> Upload:
        recipe, wanted = self.plan.recipe, self.wanted
        lines = [
            f"model {self.model_digest}",
            f"recipe {recipe_digest(recipe)} ({recipe.name}.yaml)",
        ]
        name = f"{recipe.name}.lock"
        if name in self.texts:
            lines.append(f"lock {self.digests[name]} ({name})")
        locked = f" and {name}" if name in self.texts else ""
        return Upload(
            wanted.repo,
            wanted.private,
            wanted.branch,
            wanted.pull_request,
            f"Model {self.model_digest[:12]} from {recipe.name}.yaml{locked}",
            "\n".join([*lines, f"mlxforge {__version__}"]),
            f"mlxforge-{self.model_digest[:12]}",
            self.digests,
        )


def publication(project: Project, plan: Plan) -> Publication:
    """Of a recipe with an `upload`. Raises ForgeError where its model has not been built."""
    recipe = plan.recipe
    assert recipe.upload is not None
    artifact = project.find(plan.quantize)
    if artifact is None or not project.done(plan.final):
        raise ForgeError(f"{recipe.name} has not been built", f"doit build {recipe.name}")
    manifest = artifact.manifest
    texts = {f"{recipe.name}.yaml": portable_recipe(recipe)}
    lock = project.lock(recipe)
    if lock is not None:
        texts[f"{recipe.name}.lock"] = portable_lock(recipe, lock)
    texts[CARD] = model_card(card_facts(project, plan, manifest, set(texts))).encode()
    for name in sorted(texts.keys() & manifest.files.keys()):
        raise ForgeError(
            f"the model has a file {name}, as which {recipe.name} would be published",
            "give the recipe another name",
        )
    return Publication(
        plan,
        recipe.upload,
        artifact.data,
        {name: fact.sha256 for name, fact in manifest.files.items()},
        manifest.digest,
        texts,
    )


def preview(project: Project, plan: Plan) -> str:
    """What `doit upload` would do, and the card; asks the Hub what is there, sends nothing."""
    from mlxforge.hub.failures import Unreachable
    from mlxforge.hub.publish import Target, changes, published

    ready = publication(project, plan)
    wanted = ready.wanted
    target = Target(wanted.repo, wanted.private, wanted.branch, wanted.pull_request)
    place, store = f"preview-{plan.recipe.name}", project.store
    store.prepare()
    with store.in_use(), store.locked(place), store.staging(place) as folder:
        ready.stage(folder)
        try:
            remote, known = published(target), ""
        except Unreachable:
            remote, known = {}, "; the Hub was not reached: what is there is not known"
        needed = changes(folder, remote, lambda path: ready.digests[path.name])
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    how = "a pull request to " if wanted.pull_request else ""
    where = f"{how}{wanted.repo} ({'private' if wanted.private else 'public'}), {wanted.branch}"
    where += known
    lines = dry_run_lines(plan.recipe.name, where, sizes, needed.send, needed.remove)
    return f"{lines}\n\n{ready.texts[CARD].decode()}"


def publish(project: Project, ready: Publication, progress: Progress) -> dict[str, Any]:
    """Send what is not there yet; the receipt, which is also kept in the store.

    Raises ForgeError where the Hub cannot be reached, refuses, or keeps other bytes.
    """
    store, name = project.store, ready.plan.recipe.name
    place = f"upload-{name}"
    kept = _receipt_file(project, name)
    with store.locked(place), store.staging(place) as staged:
        kept.unlink(missing_ok=True)  # what it says is about to become untrue
        folder, out = staged / "files", staged / "receipt"
        folder.mkdir()
        out.mkdir()
        ready.stage(folder)
        log = store.root / "logs" / f"{place}.log"
        run_in_process(ready.step(), {"folder": folder}, out, log, progress)
        receipt: dict[str, Any] = json.loads((out / "receipt.json").read_bytes())
        receipt["fingerprint"] = fingerprint(project, ready.plan)
        (out / "receipt.json").write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")
        kept.parent.mkdir(exist_ok=True)
        os.replace(out / "receipt.json", kept)
    return receipt


def fingerprint(project: Project, plan: Plan) -> str | None:
    """Equal where nothing that is published, and nowhere that it goes, has changed; None before
    the model is built. Asks nobody."""
    recipe = plan.recipe
    artifact = project.find(plan.quantize)
    if artifact is None or recipe.upload is None:
        return None
    lock = project.lock(recipe)
    return digest(
        {
            "model": artifact.manifest.digest,
            "steps": [node.key for node in plan.ends],
            "recipe": hashlib.sha256(portable_recipe(recipe)).hexdigest(),
            "lock": hashlib.sha256(portable_lock(recipe, lock)).hexdigest() if lock else None,
            "upload": asdict(recipe.upload),
            "mlxforge": __version__,
        }
    )


def is_published(project: Project, plan: Plan) -> bool:
    """Whether all of it went out from this store, and nothing has changed since."""
    try:
        receipt = json.loads(_receipt_file(project, plan.recipe.name).read_bytes())
        return bool(receipt["fingerprint"] == fingerprint(project, plan))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def check_target(project: Project, recipe: Recipe) -> None:
    """Raises ForgeError where another recipe publishes to the same place: whichever came last
    would be there."""
    upload = recipe.upload
    assert upload is not None
    for other in project.book.recipes.values():
        there = other.upload
        same = there and (there.repo, there.branch) == (upload.repo, upload.branch)
        if same and other.name != recipe.name:
            raise ForgeError(
                f"{recipe.name} and {other.name} would both be published to {upload.repo}",
                "give each a repository or a branch of its own, as with ${bits} in a matrix",
                at=recipe.positions.get(("upload", "repo")),
            )


def _receipt_file(project: Project, name: str) -> Path:
    return project.store.root / "uploads" / f"{name}.json"
