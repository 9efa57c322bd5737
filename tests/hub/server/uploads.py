"""Large files: where to put them, in one piece or in parts, and the bytes themselves.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, and the Hub's own "multipart".
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.hub.server.access import check_signed, signed, to_propose, to_write
from tests.hub.server.messages import Answer, Refusal, Request, as_json
from tests.hub.server.repository import PIECE_BYTES, Repository, describe

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["batch", "complete", "put", "put_part", "verify"]


def batch(hub: Hub, request: Request, repo: str) -> Answer:
    """What to do for each object; nothing for those that are there. Whoever only proposes names
    no revision."""
    asked = request.json()
    branch = asked.get("ref", {}).get("name", "refs/pr/")
    may = to_propose if branch.startswith("refs/pr/") else to_write
    made = may(hub, request, repo)
    objects = []
    for one in asked["objects"]:
        told: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
        if one["oid"] not in made.kept:
            made.expected[one["oid"]] = one["size"]
            verify = {"href": f"{hub.endpoint}/{repo}.git/info/lfs/objects/verify"}
            told["actions"] = {"upload": _upload(hub, repo, **one), "verify": verify}
        objects.append(told)
    return as_json({"transfer": "basic", "objects": objects})


def _upload(hub: Hub, repo: str, oid: str, size: int) -> dict[str, Any]:
    path = f"/{repo}/lfs/{oid}"
    action = {"href": hub.storage + signed(path)}
    if hub.part_bytes is None or size <= hub.part_bytes:
        return action
    numbers = range(1, -(-size // hub.part_bytes) + 1)
    parts = {f"{number:05}": hub.storage + signed(f"{path}/{number}") for number in numbers}
    return action | {"header": {"chunk_size": str(hub.part_bytes), **parts}}


def put(hub: Hub, request: Request, repo: str, oid: str) -> Answer:
    check_signed(request)
    _keep(hub.repositories[repo], oid, request.content)
    return Answer(200, b"", 0, {"ETag": f'"{oid}"'})


def put_part(hub: Hub, request: Request, repo: str, oid: str, number: str) -> Answer:
    check_signed(request)
    content = request.body()
    path = _part(hub.repositories[repo], oid, int(number))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Answer(200, b"", 0, {"ETag": _etag(content)})


def complete(hub: Hub, request: Request, repo: str, oid: str) -> Answer:
    """Put the parts together; the client names each with the ETag that it was given."""
    check_signed(request)
    made = hub.repositories[repo]
    with tempfile.SpooledTemporaryFile(PIECE_BYTES) as whole:
        for told in request.json()["parts"]:
            path = _part(made, oid, told["partNumber"])
            if not path.is_file() or _etag(path.read_bytes()) != told["etag"]:
                raise Refusal(400, "", f"part {told['partNumber']} is not what was put")
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole)
        _keep(made, oid, whole)
    return as_json({})


def verify(hub: Hub, request: Request, repo: str) -> Answer:
    made = to_propose(hub, request, repo)
    asked = request.json()
    file = made.kept.get(asked["oid"])
    if file is None or file.size != asked["size"]:
        raise Refusal(404, "EntryNotFound", "the object is not there")
    return as_json({})


def _keep(made: Repository, oid: str, content: IO[bytes]) -> None:
    file = describe(content)
    if (file.sha256, file.size) != (oid, made.expected.get(oid)):
        raise Refusal(400, "", "BadDigest: the content is not what was announced")
    made.keep(content, file)


def _part(made: Repository, oid: str, number: int) -> Path:
    return made.folder / "parts" / oid / str(number)


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
