"""Where huggingface_hub keeps a snapshot, without importing it.

The layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache):
``$HF_HUB_CACHE/models--OWNER--NAME/snapshots/COMMIT/``, and ``datasets--…`` for data sets.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["snapshot_folder"]


def snapshot_folder(repo: str, commit: str, kind: str = "model") -> Path:
    """The folder of one commit of a repository of ``kind`` ("model" or "dataset") in the standard
    cache."""
    return _cache() / f"{kind}s--{repo.replace('/', '--')}" / "snapshots" / commit


def _cache() -> Path:
    """As huggingface_hub.constants finds it, in the same order."""
    default = os.path.join(os.path.expanduser("~"), ".cache")
    default = os.path.join(os.environ.get("XDG_CACHE_HOME", default), "huggingface")
    default = os.path.join(_expanded(os.environ.get("HF_HOME", default)), "hub")
    default = os.environ.get("HUGGINGFACE_HUB_CACHE", default)
    return Path(_expanded(os.environ.get("HF_HUB_CACHE", default))).resolve()


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))
