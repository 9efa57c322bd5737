"""What stands beside every artifact: how it was made and what its files must hash to.

``manifest.json``::

    {"kind": "quantize", "key": "5d0c…", "digest": "91ab…",
     "recipe": {"inputs": {"source": "77e1…"}, "parameters": {"bits": 4, …},
                "tools": {"mlx": "0.32.4", …}, "version": 1},
     "files": {"config.json": {"size": 912, "sha256": "03f2…"}, …},
     "host": {"system": "Linux x86_64", "python": "3.11.7"}, "seconds": 1.9,
     "work": {"bytes": {"done": 287512, "seconds": 0.31}}, "peak_bytes": 74211328}

``key`` is the digest of kind and recipe, ``digest`` that of the files; host, time, ``work`` (how
fast went what the step counts) and the most memory that its process had are told for people and
forecasts, and are part of neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.progress import Work

__all__ = ["FileFact", "Manifest"]


@dataclass(frozen=True)
class FileFact:
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    kind: str
    key: str
    digest: str
    recipe: Mapping[str, Any]
    files: Mapping[str, FileFact]
    host: Mapping[str, str]
    seconds: float
    work: Mapping[str, Work] = field(default_factory=lambda: MappingProxyType({}))
    peak_bytes: int | None = None

    def dumps(self) -> str:
        return json.dumps(_plain(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Raises ForgeError where the file is missing or damaged."""
        try:
            raw = json.loads(path.read_bytes())
            files = {name: FileFact(**fact) for name, fact in raw.pop("files").items()}
            work = {unit: Work(**entry) for unit, entry in raw.pop("work", {}).items()}
            return cls(files=files, work=work, **raw)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ForgeError(
                f"{path} is damaged: {error}", f"delete {path.parent} and build again"
            ) from error


def _plain(manifest: Manifest) -> dict[str, Any]:
    return asdict(replace(manifest, work=dict(manifest.work)))
