"""What the Hub tells of a repository: facts, files, names, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from tests.hub.server.access import commit_at, to_read
from tests.hub.server.messages import Answer, Refusal, Request, as_json
from tests.hub.server.repository import Commit, Repository, is_large
from tests.hub.server.trees import file_row, last_change, lfs_facts, listed_row, rows

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["commits", "info", "paths_info", "refs", "tree"]


def info(hub: Hub, request: Request, repo: str, revision: str = "main") -> Answer:
    made = to_read(hub, request, repo)
    commit = commit_at(made, revision)
    siblings = []
    for path, file in sorted(commit.files.items()):
        facts: dict[str, Any] = {"rfilename": path}
        if request.asked("blobs"):
            facts |= {"size": file.size, "blobId": file_row(path, file)["oid"]}
            if is_large(path, file.size):
                facts["lfs"] = {"sha256": file.sha256, **lfs_facts(file)}
        siblings.append(facts)
    name = repo.removeprefix("datasets/")
    told = {"id": name, "author": name.split("/")[0], "sha": commit.id, "private": made.private}
    told |= {"gated": "manual" if made.gated else False, "lastModified": commit.date}
    return as_json(told | {"tags": [], "downloads": 0, "likes": 0, "siblings": siblings})


def tree(hub: Hub, request: Request, repo: str, revision: str, path: str = "") -> Answer:
    made = to_read(hub, request, repo)
    commit = commit_at(made, revision)
    found = rows(commit.files, path, _is_true(request.asked("recursive")))
    if path and not found:
        raise Refusal(404, "EntryNotFound", f"{path} does not exist on {revision}")
    if not path:
        found += [listed_row(listed) for listed in made.listed]
    if _is_true(request.asked("expand")):
        found = [_expanded(made, commit, row) for row in found]
    return _page(hub, request, found)


def paths_info(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    made = to_read(hub, request, repo)
    commit = commit_at(made, revision)
    form = parse_qs(request.body().decode())
    found = [row for row in rows(commit.files) if row["path"] in form.get("paths", [])]
    if _is_true(form.get("expand", [""])[0]):
        found = [_expanded(made, commit, row) for row in found]
    return as_json(found)


def refs(hub: Hub, request: Request, repo: str) -> Answer:
    made = to_read(hub, request, repo)

    def told(begin: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name.removeprefix(begin), "ref": f"{begin}{name.removeprefix(begin)}",
             "targetCommit": commit}
            for name, commit in names.items()
        ]  # fmt: skip

    def begun(begin: str) -> dict[str, str]:
        return {name: to for name, to in made.names.items() if name.startswith(begin)}

    branches = {name: to for name, to in made.names.items() if not name.startswith("refs/")}
    answer = {
        "branches": told("refs/heads/", branches),
        "tags": told("refs/tags/", made.tags),
        "converts": told("refs/convert/", begun("refs/convert/")),
    }
    if request.asked("include_prs"):
        answer["pullRequests"] = told("refs/pr/", begun("refs/pr/"))
    return as_json(answer)


def commits(hub: Hub, request: Request, repo: str, revision: str) -> Answer:
    made = to_read(hub, request, repo)
    history = [
        {"id": step.id, "title": step.title, "message": "", "date": step.date, "authors": []}
        for step in made.history(commit_at(made, revision))
    ]
    return _page(hub, request, history)


def _page(hub: Hub, request: Request, found: list[dict[str, Any]]) -> Answer:
    """So many at a time; where there are more, a header says where."""
    first = int(request.asked("cursor", "0"))
    stop = first + hub.page
    if stop >= len(found):
        return as_json(found[first:])
    asked = "&".join(
        f"{key}={quote(value)}"
        for key, values in request.query.items()
        for value in values
        if key != "cursor"
    )
    link = f'<{hub.endpoint}{request.path}?{asked}&cursor={stop}>; rel="next"'
    return as_json(found[first:stop], headers={"Link": link})


def _expanded(made: Repository, commit: Commit, row: dict[str, Any]) -> dict[str, Any]:
    if row["path"] in made.listed:
        return row
    return row | {"lastCommit": last_change(made, commit, row["path"])}


def _is_true(word: str) -> bool:
    return word.lower() in ("1", "true")
