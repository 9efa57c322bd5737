"""A disk that is full or cannot be written: one line, and the next build recovers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Workspace


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB; making one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_to_be_full(
    workspace: Workspace, tiny: Callable[..., Path], small_disk: Path
) -> None:
    workspace.cache.symlink_to(small_disk)
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    told = workspace.refused("build", "tiny")
    assert "the disk is full" in told
    assert "free space (`doit gc` shows what can go) and build again" in told
    assert workspace.artifacts("quantize") == []

    resized = ["mount", "-o", "remount,size=50m", str(small_disk)]
    subprocess.run(resized, check=True)
    workspace.build("tiny")


def test_a_store_that_cannot_be_made_is_refused(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    workspace.cache.write_text("a file where the store should be")
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    assert "cache cannot be written" in workspace.refused("build", "tiny")
