"""The files and folders of a commit, as the Hub lists them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tests.hub.server.repository import Commit, File, Repository, describe, is_large

__all__ = ["Row", "file_row", "last_change", "lfs_facts", "listed_row", "rows"]

Row = dict[str, Any]


def rows(files: Mapping[str, File], under: str = "", recursive: bool = True) -> list[Row]:
    """Folders, then files, of the folder ``under``; none where there is no such folder."""
    start = f"{under}/" if under else ""
    inside = {path: file for path, file in files.items() if path.startswith(start)}
    parents = {parent.as_posix() for path in inside for parent in PurePosixPath(path).parents}
    found = [_folder_row(path, files) for path in sorted(parents) if _is_in(path, start)]
    found += [file_row(path, file) for path, file in sorted(inside.items())]
    return [row for row in found if recursive or "/" not in row["path"][len(start) :]]


def _is_in(path: str, start: str) -> bool:
    return path != "." and path.startswith(start)


def _folder_row(path: str, files: Mapping[str, File]) -> Row:
    inside = sorted((name, f.sha256) for name, f in files.items() if name.startswith(f"{path}/"))
    oid = hashlib.sha1(repr(inside).encode()).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def file_row(path: str, file: File) -> Row:
    """A file; of a large one git has only a pointer, and ``oid`` is the pointer's digest."""
    row: Row = {"type": "file", "path": path, "size": file.size, "oid": file.git_sha1}
    if not is_large(path, file.size):
        return row
    pointer = _pointer(file)
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    return row | {"oid": oid, "lfs": {"oid": file.sha256, **lfs_facts(file)}}


def listed_row(path: str) -> Row:
    """A file that is listed and not there."""
    return file_row(path, describe(io.BytesIO(b"{}")))


def lfs_facts(file: File) -> dict[str, int]:
    return {"size": file.size, "pointerSize": len(_pointer(file))}


def _pointer(file: File) -> bytes:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
    return text.format(file.sha256, file.size).encode()


def last_change(made: Repository, commit: Commit, path: str) -> Row:
    """The commit that gave ``path`` its present content."""

    def content(commit: Commit | None) -> object:
        inside = commit.files.items() if commit else ()
        return sorted(
            (name, file.sha256) for name, file in inside if f"{name}/".startswith(f"{path}/")
        )

    changed = next(
        step
        for step in made.history(commit)
        if content(made.known.get(step.parent or "")) != content(commit)
    )
    return {"id": changed.id, "title": changed.title, "date": changed.date}
