"""Keys: what a result is filed under, computed from what it is made of before it is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical", "digest", "files_digest"]


def canonical(value: Any) -> bytes:
    """JSON with one spelling per value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """The sha256, in hex, of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value)).hexdigest()


def files_digest(files: Mapping[str, str]) -> str:
    """One digest for a set of files, given as relative path -> sha256.

    Independent of order, times, owners and the folder that the files lie in.
    """
    return digest({"files": dict(files)})
