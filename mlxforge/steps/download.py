"""download: one commit of a Hub repository, into the standard Hugging Face cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Download"]


@dataclass(frozen=True)
class Download(Step):
    """No inputs -> ``snapshot.json``, the receipt; the files stay in the cache that all tools
    share. ``files`` is the lock's: name -> size and digest. ``repo_type``: model or dataset."""

    repo: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]
    repo_type: str = "model"

    kind = "download"
    network = True

    def parameters(self) -> dict[str, Any]:
        """A model's are as they were before there were data sets, and so are their keys."""
        parameters = super().parameters()
        if self.repo_type == "model":
            del parameters["repo_type"]
        return parameters

    def folder(self) -> Path:
        """Where the files lie on this machine."""
        from mlxforge.hub.cache import snapshot_folder

        return snapshot_folder(self.repo, self.commit, self.repo_type)

    def result(self, data: Path) -> Path:
        return self.folder()

    def complete(self) -> bool:
        """Whether every file is in the cache with its size; the digests were checked once."""
        try:
            return all(
                (self.folder() / name).stat().st_size == fact["size"]
                for name, fact in self.files.items()
            )
        except OSError:
            return False

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.hub.client import fetch_snapshot

        fetch_snapshot(self.repo, self.commit, self.files, progress, self.repo_type)
        receipt = {"repo": self.repo, "commit": self.commit, "files": dict(self.files)}
        (out / "snapshot.json").write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")
