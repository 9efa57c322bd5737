"""What stands beside every artifact: how it was made and what its files must hash to.

``manifest.json``::

    {"kind": "quantize", "key": "5d0c…", "digest": "91ab…",
     "recipe": {"inputs": {"source": "77e1…"}, "parameters": {"bits": 4, …},
                "tools": {"mlx": "0.32.4", …}, "version": 1},
     "files": {"config.json": {"size": 912, "sha256": "03f2…"}, …},
     "host": {"system": "Linux x86_64", "python": "3.11.7"}, "seconds": 1.9}

``key`` is the digest of kind and recipe, ``digest`` that of the files; host and time are told
for people and are part of neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError

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

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Raises ForgeError where the file is missing or damaged."""
        try:
            raw = json.loads(path.read_bytes())
            files = {name: FileFact(**fact) for name, fact in raw.pop("files").items()}
            return cls(files=files, **raw)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ForgeError(
                f"{path} is damaged: {error}", f"delete {path.parent} and build again"
            ) from error
