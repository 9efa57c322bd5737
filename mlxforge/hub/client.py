"""The Hub, through huggingface_hub: which commit a name means, and its files on this disk."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.hf_api import RepoFile

from mlxforge.errors import ForgeError
from mlxforge.hub.cache import snapshot_folder
from mlxforge.hub.failures import told
from mlxforge.hub.names import is_file_name
from mlxforge.hub.progress import byte_counter
from mlxforge.models.source import is_source_file
from mlxforge.progress import Progress

__all__ = ["fetch_config", "fetch_snapshot", "resolve"]


def resolve(repo: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The commit that ``revision`` means now, and every wanted file's size and digest.

    Large files give their sha256, small ones git's sha1 of the blob: what the Hub tells without
    a download. Raises ForgeError where there is no model to be had, or not for us.
    """
    api = HfApi()
    try:
        commit = api.model_info(repo, revision=revision).sha or ""
        entries = list(api.list_repo_tree(repo, recursive=False, revision=commit))
    except Exception as error:
        raise told(error, repo, revision) from error
    found = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    wanted = {name: _facts(entry) for name, entry in found.items() if _wanted(name)}
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


def fetch_config(repo: str, commit: str) -> Path:
    """The snapshot's folder, with config.json alone downloaded."""
    try:
        return Path(hf_hub_download(repo, "config.json", revision=commit)).parent
    except Exception as error:
        raise told(error, repo, commit) from error


def _wanted(name: str) -> bool:
    """What a build may read, and the card. Never code, never pickles, nothing in a subfolder."""
    return is_file_name(name) and (is_source_file(name) or name == "README.md")


def _facts(entry: RepoFile) -> dict[str, Any]:
    digest = {"sha256": entry.lfs.sha256} if entry.lfs else {"git_sha1": entry.blob_id}
    return {"size": entry.size, **digest}


def fetch_snapshot(
    repo: str, commit: str, files: Mapping[str, Mapping[str, Any]], progress: Progress
) -> Path:
    """Download ``files`` of one commit into the standard cache; complete files are not fetched
    again. Returns the snapshot's folder; raises ForgeError."""
    total = sum(fact["size"] for fact in files.values())
    there = sum(
        fact["size"]
        for name, fact in files.items()
        if (snapshot_folder(repo, commit) / name).exists()
    )
    try:
        folder = snapshot_download(
            repo,
            revision=commit,
            allow_patterns=[glob.escape(name) for name in files],
            tqdm_class=byte_counter(there, total, progress),
        )
    except Exception as error:
        raise told(error, repo, commit) from error
    return Path(folder)
