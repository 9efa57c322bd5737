"""Branches and tags: made and taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hub.server.access import commit_at, to_write
from tests.hub.server.messages import Answer, Refusal, Request, as_json

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["create_branch", "create_tag", "delete_branch", "delete_tag"]


def create_branch(hub: Hub, request: Request, repo: str, name: str) -> Answer:
    made = to_write(hub, request, repo)
    commit = commit_at(made, request.json().get("startingPoint", "main"))
    with hub.guard:
        _make(made.names, name, commit.id)
    return as_json({})


def delete_branch(hub: Hub, request: Request, repo: str, name: str) -> Answer:
    made = to_write(hub, request, repo)
    if name == "main":
        raise Refusal(403, "", "the default branch cannot be deleted")
    with hub.guard:
        _take(made.names, name)
    return as_json({})


def create_tag(hub: Hub, request: Request, repo: str, name: str) -> Answer:
    """``name`` is the revision; the tag's own name is in the body."""
    made = to_write(hub, request, repo)
    commit = commit_at(made, name)
    with hub.guard:
        _make(made.tags, request.json()["tag"], commit.id)
    return as_json({})


def delete_tag(hub: Hub, request: Request, repo: str, name: str) -> Answer:
    made = to_write(hub, request, repo)
    with hub.guard:
        _take(made.tags, name)
    return as_json({})


def _make(names: dict[str, str], name: str, commit: str) -> None:
    if name in names:
        raise Refusal(409, "", "Reference already exists")
    names[name] = commit


def _take(names: dict[str, str], name: str) -> None:
    if name not in names:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {name}")
    del names[name]
