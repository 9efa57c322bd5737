"""How long the Hub may be silent."""

from __future__ import annotations

import os

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from mlxforge.errors import ForgeError

__all__ = ["limit_silence"]

SECONDS = "120"


def limit_silence() -> None:
    """Let every request of this process fail that waits longer than ``MLXFORGE_HUB_TIMEOUT``
    seconds (120) for the next sign of life. The client itself waits for ever for an upload."""
    told = os.environ.get("MLXFORGE_HUB_TIMEOUT", SECONDS)
    try:
        seconds = float(told)
    except ValueError:
        raise ForgeError(
            f"MLXFORGE_HUB_TIMEOUT is {told!r}, not a number of seconds", "such as 120"
        ) from None

    def limit(request: httpx2.Request) -> None:
        given = request.extensions.get("timeout") or {}
        if not any(given.values()):  # some of the client's calls ask for none
            patience = httpx2.Timeout(seconds).as_dict()
            request.extensions = {**request.extensions, "timeout": patience}

    def client() -> httpx2.Client:
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "request": [*hooks["request"], limit]}
        return made

    set_client_factory(client)
