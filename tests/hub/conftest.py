"""A Hub to talk to, and a model to put there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.server import Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that every `doit` of the test talks to."""
    with Hub(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def model(tiny: Callable[..., Path]) -> dict[str, bytes]:
    """The files of a model's repository."""
    return {path.name: path.read_bytes() for path in tiny().iterdir()} | {"README.md": b"# Tiny"}
