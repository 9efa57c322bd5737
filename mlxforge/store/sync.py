"""Bytes that are on the disk, not on their way there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PART", "replaced", "sync"]

PART = ".part"


def sync(path: Path) -> None:
    """Return when the file, or the folder's list of names, outlives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write what is to stand at ``path``: it is there whole, on the disk and in the order
    in which files were replaced, or what was there before is."""
    staged = path.with_name(f"{path.stem}{PART}{path.suffix}")
    yield staged
    sync(staged)
    os.replace(staged, path)
    sync(path.parent)
