"""Where huggingface_hub keeps a snapshot, without importing it.

The layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache):
``$HF_HUB_CACHE/models--OWNER--NAME/snapshots/COMMIT/``, and ``datasets--…`` for data sets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["bytes_there", "is_whole", "offline", "snapshot_folder"]


def snapshot_folder(repo: str, commit: str, kind: str = "model") -> Path:
    """The folder of one commit of a repository of ``kind`` ("model" or "dataset") in the standard
    cache."""
    return _cache() / f"{kind}s--{repo.replace('/', '--')}" / "snapshots" / commit


def is_whole(path: Path, fact: Mapping[str, Any]) -> bool:
    """Whether a file lies there with the size that ``fact`` says; its digest is not looked at."""
    try:
        return bool(path.stat().st_size == fact["size"])
    except OSError:
        return False


def bytes_there(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> int:
    """How many bytes of ``files`` (name -> size and digest) a download into the snapshot's folder
    would find, those of unfinished files too."""
    there = 0
    for name, fact in files.items():
        if is_whole(folder / name, fact):
            there += fact["size"]
        elif "sha256" in fact:
            blob = folder.parents[1] / "blobs" / fact["sha256"]
            for path in (blob, blob.with_name(f"{blob.name}.incomplete")):
                if path.is_file():
                    there += min(path.stat().st_size, fact["size"])
                    break
    return there


def offline() -> bool:
    """Whether the client was told to ask nobody, as huggingface_hub.constants finds out."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


def _cache() -> Path:
    """As huggingface_hub.constants finds it, in the same order."""
    default = os.path.join(os.path.expanduser("~"), ".cache")
    default = os.path.join(os.environ.get("XDG_CACHE_HOME", default), "huggingface")
    default = os.path.join(_expanded(os.environ.get("HF_HOME", default)), "hub")
    default = os.environ.get("HUGGINGFACE_HUB_CACHE", default)
    return Path(_expanded(os.environ.get("HF_HUB_CACHE", default))).resolve()


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))
