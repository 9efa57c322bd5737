"""Making a repository, and commits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.hub.server.access import commit_at, is_ours, to_propose, to_write, user
from tests.hub.server.changes import changed, other_bytes
from tests.hub.server.messages import Answer, Refusal, Request, as_json
from tests.hub.server.proposals import open_discussion
from tests.hub.server.repository import Repository, is_large

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["commit", "create_repo", "preupload", "validate_yaml"]

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def create_repo(hub: Hub, request: Request) -> Answer:
    """Like the Hub's, a new repository has a commit with one file."""
    asked = request.json()
    owner = asked.get("organization") or user(request)
    kind = asked.get("type") or "model"
    repo = f"{'datasets/' if kind == 'dataset' else ''}{owner}/{asked['name']}"
    user(request)
    if not is_ours(repo):
        told = f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        raise Refusal(403, "", told)
    url = f"{hub.endpoint}/{repo}"
    with hub.guard:
        if repo in hub.repositories:
            raise Refusal(409, "", f"You already created this {kind} repo", url=url)
        private = asked.get("visibility") == "private"
        made = hub.repositories[repo] = Repository(hub.folder / repo, private=private)
        made.add("main", {".gitattributes": made.keep_bytes(ATTRIBUTES)}, "initial commit")
    return as_json({"url": url, "name": f"{owner}/{asked['name']}"})


def validate_yaml(hub: Hub, request: Request) -> Answer:
    """The facts at the head of a card; here only that they end where they begin."""
    content = request.json()["content"]
    if content.startswith("---\n") and "\n---" not in content[3:]:
        message = "the metadata has no end"
        return as_json({"errors": [{"message": message}], "warnings": []}, 400)
    return as_json({"errors": [], "warnings": []})


def preupload(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    """How each file has to come, and the digest of the one that is there under its name."""
    may = to_propose if _is_proposal(request, revision) else to_write
    there = commit_at(may(hub, request, repo), revision).files
    told = []
    for asked in request.json()["files"]:
        path = asked["path"]
        large = is_large(path, asked["size"]) and not hub.regular
        row = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file := there.get(path):
            row["oid"] = file.sha256 if large else file.git_sha1
        told.append(row)
    return as_json({"files": told})


def commit(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    """Lines of JSON: a header, then what happens to each path."""
    may = to_propose if _is_proposal(request, revision) else to_write
    made = may(hub, request, repo)
    header, *changes = [json.loads(line) for line in request.body().splitlines() if line]
    title = header["value"]["summary"]
    wanted = header["value"].get("parentCommit")
    trouble = request.trouble
    with hub.guard:
        base = commit_at(made, revision)
        if revision not in made.names:
            raise Refusal(400, "", f"{revision} is not a branch")
        if wanted not in (None, base.id):
            later = "A commit has happened since. Please refresh and try again."
            raise Refusal(412, "", later)
        files = changed(made, base, changes)
        if trouble and trouble.kind == "altering" and trouble.path in files:
            files[trouble.path] = other_bytes(made, files[trouble.path])
        branch, answer = revision, dict[str, Any](success=True, hookOutput="")
        if request.asked("create_pr"):
            opened = open_discussion(made, title, header["value"].get("description", ""), base)
            branch = opened.ref
            answer["pullRequestUrl"] = f"{hub.endpoint}/{repo}/discussions/{opened.number}"
        new = made.add(branch, files, title)
        if trouble and trouble.kind == "moving":
            made.add(branch, files | {"moved.txt": made.keep_bytes(b"moved")}, "Move on")
    url = f"{hub.endpoint}/{repo}/commit/{new.id}"
    return as_json(answer | {"commitOid": new.id, "commitUrl": url})


def _is_proposal(request: Request, revision: str) -> bool:
    return bool(request.asked("create_pr")) or revision.startswith("refs/pr/")
