"""A file's bytes: the small ones from the Hub, the large ones from a CDN that it points to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.hub.server.access import check_signed, commit_at, signed, to_read
from tests.hub.server.messages import Answer, Refusal, Request
from tests.hub.server.repository import Repository, is_large

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["resolve"]


def resolve(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Answer:
    from_cdn = bool(request.asked("signature"))
    if from_cdn:
        check_signed(request)
        made = hub.repositories[repo]
    else:
        made = to_read(hub, request, repo)
        _check_gate(made, request, repo)
    commit = commit_at(made, revision)
    told = {"X-Repo-Commit": commit.id}
    if path not in commit.files:
        raise Refusal(404, "EntryNotFound", "Entry not found", told)
    file = commit.files[path]
    headers = {"ETag": f'"{file.git_sha1}"', "Accept-Ranges": "bytes"}
    if is_large(path, file.size):
        headers["ETag"] = f'"{file.sha256}"'
        told |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(file.size)}
        if hub.redirects and not from_cdn:
            told["Location"] = hub.storage + signed(request.path)
            return Answer(302, b"", 0, told)
    first, stop = _part(request.headers.get("Range") if hub.ranges else None, file.size)
    status = 200
    if (first, stop) != (0, file.size):
        status = 206
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{file.size}"
    headers |= {} if from_cdn else told
    return Answer(status, made.object(file.sha256), stop, headers, first, path)


def _check_gate(made: Repository, request: Request, repo: str) -> None:
    if made.gated and request.token is None:
        raise Refusal(401, "GatedRepo", f"Access to model {repo} is restricted.")
    if made.gated and not made.granted:
        raise Refusal(403, "GatedRepo", "You are not in the authorized list.")


def _part(asked: str | None, size: int) -> tuple[int, int]:
    """The first byte of what is asked for, and the one after the last."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if not found or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(size - int(found[2]), 0), size
    first, stop = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    if first >= stop:
        raise Refusal(416, "", "Range Not Satisfiable", {"Content-Range": f"bytes */{size}"})
    return first, stop
