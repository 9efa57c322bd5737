"""The Hub, through huggingface_hub: which commit a name means, and its files on this disk."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from mlxforge.errors import ForgeError
from mlxforge.hub.blobs import Blob, OtherBytes, fetch_blob
from mlxforge.hub.cache import snapshot_folder
from mlxforge.hub.failures import told
from mlxforge.hub.names import is_file_name
from mlxforge.hub.progress import Arrivals
from mlxforge.hub.space import check_space
from mlxforge.hub.tree import list_files
from mlxforge.hub.verify import check_files, unlike
from mlxforge.models.source import is_source_file
from mlxforge.progress import Progress

__all__ = ["fetch_file", "fetch_snapshot", "resolve"]

AT_ONCE = 8  # files, as huggingface_hub does


def resolve(repo: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The commit that ``revision`` means now, and every wanted file's size and digest.

    Large files give their sha256, small ones git's sha1 of the blob: what the Hub tells without
    a download. Raises ForgeError where there is no model to be had, or not for us.
    """
    try:
        commit = HfApi().model_info(repo, revision=revision).sha or ""
        found = list_files(repo, commit)
    except Exception as error:
        raise told(error, repo, revision) from error
    wanted = {name: fact for name, fact in found.items() if _wanted(name)}
    weights = [name for name in wanted if name.endswith(".safetensors")]
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
    return commit, wanted


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


def _wanted(name: str) -> bool:
    """What a build may read, and the card. Never code, never pickles, nothing in a subfolder."""
    return is_file_name(name) and (is_source_file(name) or name == "README.md")


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
    snapshot's folder; raises ForgeError, before the first byte where the disk is too small.
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
    there = total - lacking - sum(blob.size - blob.there() for blob in blobs.values())
    check_space(folder, total - there, repo)
    arrived = Arrivals(there, total, progress)
    disable_progress_bars()
    try:
        _fetch(repo, commit, kind, small)
        check_files(folder, small)
        arrived.add(lacking)
        _fetch_blobs(blobs, arrived)
        _fetch(repo, commit, kind, files)  # gives the blobs their names
    except Exception as error:
        raise told(error, repo, commit, kind=kind) from error
    return folder


def _fetch(repo: str, commit: str, kind: str, names: Iterable[str]) -> None:
    if patterns := [glob.escape(name) for name in names]:
        snapshot_download(repo, repo_type=kind, revision=commit, allow_patterns=patterns)


def _fetch_blobs(blobs: Mapping[str, Blob], arrived: Arrivals) -> None:
    """Several at once; the first that fails ends them all."""
    stop = threading.Event()

    def fetch(name: str) -> None:
        try:
            fetch_blob(blobs[name], arrived.add, stop)
        except BaseException as error:
            stop.set()
            if isinstance(error, OtherBytes):
                raise unlike(name, "sha256") from error
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(fetch, name) for name in blobs]:
            done.result()
