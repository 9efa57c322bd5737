"""Discussions and pull requests, asked for and opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.hub.server.access import USER, commit_at, to_propose, to_read, to_write
from tests.hub.server.discussion import Discussion
from tests.hub.server.messages import Answer, Refusal, Request, as_json
from tests.hub.server.repository import Commit, Repository, when

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["change", "create", "details", "discussions", "open_discussion"]


def open_discussion(
    made: Repository, title: str, text: str, base: Commit | None, status: str = "open"
) -> Discussion:
    """A pull request that begins at ``base``; without, a mere discussion."""
    number = len(made.discussions) + 1
    opened = Discussion(number, title, USER, when(number), base is not None, status)
    opened.comment(text, opened.date)
    made.discussions.append(opened)
    if base:
        made.names[opened.ref] = base.id
    return opened


def discussions(hub: Hub, request: Request, repo: str) -> Answer:
    """Newest first, as many on a page as the Hub gives."""
    made = to_read(hub, request, repo)
    kind, status = request.asked("type", "all"), request.asked("status", "all")
    found = [
        one
        for one in reversed(made.discussions)
        if kind in ("all", "pull_request" if one.is_pull_request else "discussion")
        and status in ("all", "open" if one.status in ("open", "draft") else "closed")
        and request.asked("author", one.author) == one.author
    ]
    start = int(request.asked("p", "0")) * hub.page
    page = [_facts(repo, one) for one in found[start : start + hub.page]]
    return as_json({"discussions": page, "count": len(found), "start": start})


def details(hub: Hub, request: Request, repo: str, number: str) -> Answer:
    one = _numbered(to_read(hub, request, repo), number)
    told = _facts(repo, one) | {"events": one.events}
    if one.is_pull_request:
        changes = {"base": "refs/heads/main"}
        if one.merged_as:
            changes["mergeCommitId"] = one.merged_as
        told |= {"changes": changes, "filesWithConflicts": [], "diff": ""}
    return as_json(told)


def create(hub: Hub, request: Request, repo: str) -> Answer:
    """A pull request that is opened without a commit is a draft."""
    made = to_propose(hub, request, repo)
    asked = request.json()
    proposes = asked.get("pullRequest", False)
    with hub.guard:
        base = commit_at(made, "main") if proposes else None
        opened = open_discussion(
            made, asked["title"], asked["description"], base, "draft" if proposes else "open"
        )
    return as_json({"num": opened.number, "pullRequest": proposes})


def change(hub: Hub, request: Request, repo: str, number: str, what: str) -> Answer:
    """A comment, another status, or a merge: what it proposes becomes main's content."""
    made = (to_propose if what == "comment" else to_write)(hub, request, repo)
    asked = request.json() or {}
    with hub.guard:
        one = _numbered(made, number)
        date = when(len(made.known))
        if what == "comment":
            return as_json({"newMessage": one.comment(asked["comment"], date)})
        if what == "status":
            return as_json({"newStatus": one.become(asked["status"], date)})
        if one.status != "open" or not one.is_pull_request:
            raise Refusal(400, "", f"a {one.status} pull request cannot be merged")
        files = commit_at(made, one.ref).files
        one.merged_as = made.add("main", files, f"{one.title} (#{number})").id
        one.become("merged", date)
    return as_json({})


def _numbered(made: Repository, number: str) -> Discussion:
    if not 1 <= int(number) <= len(made.discussions):
        raise Refusal(404, "", "Discussion not found")
    return made.discussions[int(number) - 1]


def _facts(repo: str, one: Discussion) -> dict[str, Any]:
    kind = "dataset" if repo.startswith("datasets/") else "model"
    return {
        "num": one.number,
        "title": one.title,
        "author": {"name": one.author},
        "createdAt": one.date,
        "status": one.status,
        "repo": {"name": repo.removeprefix("datasets/"), "type": kind},
        "isPullRequest": one.is_pull_request,
    }
