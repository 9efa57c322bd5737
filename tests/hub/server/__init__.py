"""A small Hugging Face Hub on 127.0.0.1, over real HTTP, for the real client.

    with Hub(folder) as hub:
        commit = hub.commit("acme/demo", {"config.json": b"{}"}, branch="main")
        ...  # HF_ENDPOINT=hub.endpoint, and HF_TOKEN=TOKEN to write

It reads and writes repositories of models and data sets, keeps their bytes in ``folder``, counts
what is asked of it, and misbehaves where it is told to. It has no xet storage: a client that has
hf_xet can upload to it where ``hub.regular`` is set, one without it always.
"""

from __future__ import annotations

from tests.hub.server.access import TOKEN
from tests.hub.server.discussion import Discussion
from tests.hub.server.hub import Hub
from tests.hub.server.misbehaviour import Misbehaviour
from tests.hub.server.repository import LFS_FROM, Repository

__all__ = ["LFS_FROM", "TOKEN", "Discussion", "Hub", "Misbehaviour", "Repository"]
