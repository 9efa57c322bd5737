"""The Hub, through huggingface_hub: which commit a name means, and its files on this disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from mlxforge.errors import ForgeError
from mlxforge.hub.blobs import Blob, OtherBytes, fetch_blob
from mlxforge.hub.cache import snapshot_folder
from mlxforge.hub.failures import told
from mlxforge.hub.names import is_file_name
from mlxforge.hub.progress import Arrivals
from mlxforge.hub.space import check_space
from mlxforge.hub.tree import list_files
from mlxforge.hub.verify import check_files, unlike
from mlxforge.models.source.files import is_source_file
from mlxforge.progress import Progress
from mlxforge.recipe.further import NOTHING, Further

__all__ = ["fetch_each", "fetch_file", "fetch_snapshot", "resolve", "wanted_files"]

AT_ONCE = 8  # files, as huggingface_hub does

Result = TypeVar("Result")


def resolve(repo: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The commit that ``revision`` means now, and size and digest of each file in its top folder.

    Large files give their sha256, small ones git's sha1 of the blob: what the Hub tells without
    a download. Raises ForgeError where there is no model to be had, or not for us.
    """
    try:
        commit = HfApi().model_info(repo, revision=revision).sha or ""
        found = list_files(repo, commit)
    except Exception as error:
        raise told(error, repo, revision) from error
    files = {name: fact for name, fact in found.items() if is_file_name(name)}
    weights = [name for name in wanted_files(files) if name.endswith(".safetensors")]
    if not weights:
        others = sorted(name for name in found if name.endswith((".bin", ".pt", ".gguf")))
        seen = f"; it has {others[0]}" if others else ""
        raise ForgeError(
            f"{repo} at {revision} has no model*.safetensors{seen}",
            "use a repository or a revision with safetensors",
        )
    try:  # anybody may list a gated repository; only this tells whether we may read it
        get_hf_file_metadata(hf_hub_url(repo, weights[0], revision=commit))
    except Exception as error:
        raise told(error, repo, revision) from error
    return commit, files


def fetch_file(
    repo: str, commit: str, name: str, fact: Mapping[str, Any], kind: str = "model"
) -> Path:
    """One small file of a commit, in the cache, checked against ``fact``: its size and digest."""
    try:
        path = Path(hf_hub_download(repo, name, repo_type=kind, revision=commit))
    except Exception as error:
        raise told(error, repo, commit, kind=kind) from error
    check_files(snapshot_folder(repo, commit, kind), {name: fact})
    return path


def wanted_files(
    files: Mapping[str, dict[str, Any]], further: Further = NOTHING
) -> dict[str, dict[str, Any]]:
    """What a build may read, and the card. No code but what is named, and never pickles."""
    return {
        name: fact
        for name, fact in files.items()
        if is_source_file(name, further) or name == "README.md"
    }


def fetch_snapshot(
    repo: str,
    commit: str,
    files: Mapping[str, Mapping[str, Any]],
    progress: Progress,
    kind: str = "model",
) -> Path:
    """Download ``files`` of one commit of a ``kind`` ("model" or "dataset") into the standard
    cache; complete files are not fetched again, unfinished ones go on where they stopped.

    Small files first: what is wrong with them is told before the weights are fetched. Returns the
    snapshot's folder, in which every one of ``files`` was checked against its size and digest;
    raises ForgeError, before the first byte where the disk is too small.
    """
    folder = snapshot_folder(repo, commit, kind)
    blobs = {
        name: Blob(
            hf_hub_url(repo, name, repo_type=kind, revision=commit),
            folder.parents[1] / "blobs" / fact["sha256"],
            fact["sha256"],
            fact["size"],
        )
        for name, fact in files.items()
        if "sha256" in fact and fact["size"] <= constants.MAX_HTTP_DOWNLOAD_SIZE
    }
    small = {name: fact for name, fact in files.items() if name not in blobs}
    lacking = sum(f["size"] for name, f in small.items() if not (folder / name).is_file())
    total = sum(fact["size"] for fact in files.values())
    seen = {name: blob.there() for name, blob in blobs.items()}
    there = total - lacking - sum(blob.size - seen[name] for name, blob in blobs.items())
    check_space(folder, total - there, repo)
    arrived = Arrivals(there, total, progress)
    disable_progress_bars()
    stop = threading.Event()

    def fetch(name: str) -> bool:
        return fetch_blob(blobs[name], seen[name], arrived.add, stop)

    def name_it(name: str) -> None:
        """Fetched by the client where it is small, else found where it looks for it."""
        hf_hub_download(repo, name, repo_type=kind, revision=commit)

    try:
        fetch_each(small, name_it, repo, commit)
        check_files(folder, small)
        arrived.add(lacking)
        fetched = fetch_each(blobs, fetch, repo, commit, stop)
        fetch_each(blobs, name_it, repo, commit)
        sure = {n for n, hashed in fetched.items() if hashed and blobs[n].is_at(folder / n)}
        check_files(folder, {name: files[name] for name in blobs.keys() - sure})
    except Exception as error:
        raise told(error, repo, commit, kind=kind) from error
    return folder


def fetch_each(
    names: Iterable[str],
    fetch: Callable[[str], Result],
    repo: str,
    commit: str,
    stop: threading.Event | None = None,
) -> dict[str, Result]:
    """What ``fetch`` gives for each, several at once; the first that fails ends them all, where
    they look at ``stop``."""

    def one(name: str) -> Result:
        try:
            return fetch(name)
        except BaseException as error:
            if stop is not None:
                stop.set()
            if isinstance(error, OtherBytes):
                raise unlike(name, "sha256") from error
            if isinstance(error, EntryNotFoundError) and not isinstance(
                error, LocalEntryNotFoundError
            ):
                raise ForgeError(
                    f"{repo} does not have {name} of commit {commit[:12]} any more",
                    "`doit lock --upgrade NAME` locks what it has now",
                ) from error
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {name: pool.submit(one, name) for name in names}
        return {name: done.result() for name, done in running.items()}
