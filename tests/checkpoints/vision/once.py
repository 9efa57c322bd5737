"""A folder that all of a run's test processes share: the first that asks makes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.checkpoints.vision import VISION

__all__ = ["once"]


def once(name: str, factory: pytest.TempPathFactory) -> Path:
    """The checkpoint ``name``, made under a lock and renamed when it is whole. Not to be
    changed: other tests read it."""
    base = factory.getbasetemp()
    # each process of pytest-xdist has a folder of its own within the run's
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "vision" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            VISION[name](folder.with_suffix(".partial")).rename(folder)
    return folder
