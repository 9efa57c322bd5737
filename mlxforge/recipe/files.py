"""The bytes of recipe files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["MOST_BYTES", "read_bytes"]

MOST_BYTES = 1 << 20


def read_bytes(file: Path) -> bytes:
    """The file's bytes, at most one more than a recipe may have. OSError where it is no file."""
    # A pipe would block for ever, and a device never ends.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a file")
        found = b""
        while piece := os.read(descriptor, MOST_BYTES + 1 - len(found)):
            found += piece
        return found
    finally:
        os.close(descriptor)
