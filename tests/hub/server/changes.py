"""The lines of a commit: what happens to each path."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.hub.server.access import commit_at
from tests.hub.server.messages import Refusal
from tests.hub.server.repository import Commit, File, Repository

__all__ = ["changed", "other_bytes"]

ABSENT = (
    "Your push was rejected because an LFS pointer pointed to a file that does not exist. "
    "Offending file: - {}"
)


def changed(made: Repository, base: Commit, changes: list[Mapping[str, Any]]) -> dict[str, File]:
    """The files of ``base`` after ``changes``, each ``{"key": …, "value": {"path": …}}``."""
    files = dict(base.files)
    for change in changes:
        value = change["value"]
        path = value["path"]
        match change["key"]:
            case "file":
                files[path] = made.keep_bytes(base64.b64decode(value["content"]))
            case "lfsFile":
                files[path] = _put_before(made, path, value)
            case "deletedFile":
                _delete(files, [path] if path in files else [])
            case "deletedFolder":
                inside = f"{path.rstrip('/')}/"
                _delete(files, [name for name in files if name.startswith(inside)])
            case "copyFile":
                source = commit_at(made, value.get("srcRevision") or base.id).files
                if value["srcPath"] not in source:
                    raise Refusal(404, "EntryNotFound", "Entry not found")
                files[path] = source[value["srcPath"]]
            case key:
                raise Refusal(400, "", f"unknown operation {key}")
    return files


def _put_before(made: Repository, path: str, value: Mapping[str, Any]) -> File:
    file = made.kept.get(value["oid"])
    if file is None or value.get("size", file.size) != file.size:
        raise Refusal(400, "", ABSENT.format(path))
    return file


def _delete(files: dict[str, File], gone: list[str]) -> None:
    if not gone:
        raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
    for path in gone:
        del files[path]


def other_bytes(made: Repository, file: File) -> File:
    """A file of the same length in which the first byte is another."""
    content = bytearray(made.object(file.sha256).read_bytes())
    content[0] ^= 0xFF
    return made.keep_bytes(bytes(content))
