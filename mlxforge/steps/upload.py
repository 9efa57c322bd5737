"""upload: a folder that was made for it, onto the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Upload"]


@dataclass(frozen=True)
class Upload(Step):
    """``folder`` -> ``receipt.json``. Not part of a plan: what a repository holds is asked anew
    each time. ``digests`` are the sha256 of the folder's files, as they were written."""

    repo: str
    private: bool
    branch: str
    pull_request: bool
    title: str
    description: str
    tag: str
    digests: Mapping[str, str]

    kind = "upload"
    network = True

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
        from mlxforge.hub.publish import Message, Target, publish

        receipt = publish(
            inputs["folder"],
            Target(self.repo, self.private, self.branch, self.pull_request),
            Message(self.title, self.description, self.tag),
            lambda path: self.digests[path.name],
        )
        (out / "receipt.json").write_text(json.dumps(asdict(receipt), indent=1) + "\n")
