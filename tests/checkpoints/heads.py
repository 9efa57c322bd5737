"""A source as it is known before its weights are downloaded: shards cut after their headers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mlxforge.models.source.headers import SIZES

__all__ = ["heads_of"]


def heads_of(source: Path, out: Path) -> Path:
    out.mkdir()
    sizes = {}
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, out / path.name)
            continue
        sizes[path.name] = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            head = prefix + file.read(int.from_bytes(prefix, "little"))
        (out / path.name).write_bytes(head)
    (out / SIZES).write_text(json.dumps(sizes))
    return out
