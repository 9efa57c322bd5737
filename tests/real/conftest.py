"""A real trained model and real text, fetched once from the package index."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.real.smollm2 import fetch, make_smollm2

TEXT_WHEEL = "exllamav2==0.3.2"
TEXT = "exllamav2/conversion/standard_cal_data/wiki.utf8"


@pytest.fixture(scope="session")
def downloads(request: pytest.FixtureRequest) -> Path:
    """The model and the text, kept between runs in pytest's cache folder."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("smollm2")
    with FileLock(folder / "lock"), tempfile.TemporaryDirectory() as scratch:
        if not (folder / "smollm2").exists():
            staged = Path(scratch) / "smollm2"
            make_smollm2(staged, Path(scratch))
            shutil.move(staged, folder / "smollm2")
        if not (folder / "wiki.txt").exists():
            with fetch(TEXT_WHEEL, Path(scratch)) as wheel:
                (folder / "wiki.txt").write_bytes(wheel.read(TEXT))
    return folder
