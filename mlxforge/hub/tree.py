"""The files of a repository at a commit, with sizes and digests, as the Hub lists them."""

from __future__ import annotations

from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from mlxforge.hub.patience import limit_silence

__all__ = ["list_files"]

limit_silence()  # whoever asks for anything asks for this


def list_files(
    repo: str, commit: str, kind: str = "model", nested: bool = False
) -> dict[str, dict[str, Any]]:
    """Name -> ``{"size": bytes}`` and the digest that the Hub tells without a download: sha256
    of large files, git's sha1 of small ones. ``nested`` for those in folders too.

    Raises what the client raises.
    """
    entries = HfApi().list_repo_tree(repo, recursive=nested, revision=commit, repo_type=kind)
    return {entry.path: _facts(entry) for entry in entries if isinstance(entry, RepoFile)}


def _facts(entry: RepoFile) -> dict[str, Any]:
    digest = {"sha256": entry.lfs.sha256} if entry.lfs else {"git_sha1": entry.blob_id}
    return {"size": entry.size, **digest}
