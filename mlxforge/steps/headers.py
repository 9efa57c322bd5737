"""headers: what can be known of a source on the Hub before its weights are downloaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlxforge.models.source.files import is_weight_file
from mlxforge.progress import Progress
from mlxforge.steps.base import Step
from mlxforge.steps.download import Download

__all__ = ["Headers"]

INSPECTED = (
    "config.json", "generation_config.json", "hf_quant_config.json", "*.index.json",
    "tokenizer_config.json", "*processor_config.json",
)  # fmt: skip
"""What a loader reads of a model's folder besides its weights, and what says what is lacking."""


@dataclass(frozen=True)
class Headers(Step):
    """No inputs -> a folder of heads (see mlxforge.models.source.headers): the source's small
    files as they are, and every shard cut after its header. ``files`` is the lock's: name -> size
    and digest, of those files alone."""

    repo: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]

    kind = "headers"
    network = True

    @classmethod
    def of(cls, download: Download, remote_code: Collection[str] = ()) -> Headers:
        """Of the source that ``download`` fetches. Code that may run makes the model too."""
        files = {
            name: fact
            for name, fact in download.files.items()
            if is_weight_file(name) or name in remote_code or _is_inspected(name)
        }
        return cls(download.repo, download.commit, files)

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.hub.client import fetch_snapshot
        from mlxforge.hub.headers import fetch_heads
        from mlxforge.models.source.headers import SIZES

        shards = {name: fact for name, fact in self.files.items() if is_weight_file(name)}
        small = {name: fact for name, fact in self.files.items() if name not in shards}
        folder = fetch_snapshot(self.repo, self.commit, small, lambda done, total, unit: None)
        for name in small:
            shutil.copyfile(folder / name, out / name)
        fetch_heads(self.repo, self.commit, shards, out, progress)
        sizes = {name: fact["size"] for name, fact in shards.items()}
        (out / SIZES).write_text(json.dumps(sizes, indent=1, sort_keys=True) + "\n")


def _is_inspected(name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in INSPECTED)
