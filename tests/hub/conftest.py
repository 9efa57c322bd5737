"""A Hub to talk to, a client, and a model to put there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub.server import TOKEN, Hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi


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


@pytest.fixture
def api(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """The client in this process: online, without xet, as the tests' user."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils._http import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield HfApi(endpoint=hub.endpoint, token=TOKEN)
    close_session()


@pytest.fixture(params=["classic", "pipelined"])
def mode(
    request: pytest.FixtureRequest, hub: Hub, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The client's two ways to upload: LFS objects and one commit; or, where hf_xet can be
    imported, as many commits as it likes."""
    from huggingface_hub import constants

    if request.param == "pipelined":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        hub.regular = True
    return str(request.param)
