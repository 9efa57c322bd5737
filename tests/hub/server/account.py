"""Whose token it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hub.server.access import NAMESPACES, user
from tests.hub.server.messages import Answer, Request, as_json

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["whoami"]


def whoami(hub: Hub, request: Request) -> Answer:
    name = user(request)
    organizations = [
        {"type": "org", "name": other, "fullname": other, "roleInOrg": "write"}
        for other in NAMESPACES
        if other != name
    ]
    token = {"displayName": "tests", "role": "write"}
    return as_json(
        {"type": "user", "name": name, "fullname": name, "orgs": organizations, "isPro": False,
         "auth": {"type": "access_token", "accessToken": token}}
    )  # fmt: skip
