"""A repository: commits of files, names of commits, and the files' bytes on the disk.

Bytes lie under ``folder/objects`` by their sha256, and a commit says which belong to which path.
Large files are LFS files: known by their sha256, small ones by git's sha1, whichever way they came.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.hub.server.discussion import Discussion

__all__ = [
    "LFS_FROM",
    "PIECE_BYTES",
    "Commit",
    "File",
    "Repository",
    "describe",
    "is_large",
    "when",
]

LFS_FROM = 10_000  # bytes
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """A file's content; ``git_sha1`` is git's digest of it as a blob."""

    size: int
    sha256: str
    git_sha1: str


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    parent: str | None
    date: str
    files: Mapping[str, File]


@dataclass
class Repository:
    """``names`` are branches and ``refs/…``; ``granted``: the gate is open for the tests' token;
    ``readonly``: it may read and propose, not write; ``listed`` are paths that trees list besides
    the files that there are."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    granted: bool = False
    readonly: bool = False
    listed: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    known: dict[str, Commit] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)
    kept: dict[str, File] = field(default_factory=dict)  # by sha256
    expected: dict[str, int] = field(default_factory=dict)  # sizes of objects to be put

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch, tag, ref or commit means."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.known.get(self.names.get(name) or self.tags.get(name) or revision)

    def history(self, commit: Commit | None) -> Iterator[Commit]:
        """``commit`` and what it stands on, newest first."""
        while commit:
            yield commit
            commit = self.known.get(commit.parent or "")

    def add(self, name: str, files: Mapping[str, File], title: str) -> Commit:
        """Make ``files`` the whole content of branch ``name``."""
        parent = self.names.get(name)
        said = repr((parent, title, sorted((path, file.sha256) for path, file in files.items())))
        commit = hashlib.sha1(said.encode()).hexdigest()
        made = Commit(commit, title, parent, when(len(self.known)), dict(files))
        self.known.setdefault(commit, made)
        self.names[name] = commit
        return made

    def object(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256

    def keep(self, content: IO[bytes], file: File | None = None) -> File:
        """Store all of ``content``, which is ``file`` where that is known."""
        file = file or describe(content)
        path = self.object(file.sha256)
        if file.sha256 not in self.kept:
            path.parent.mkdir(parents=True, exist_ok=True)
            content.seek(0)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix="unfinished-")
            with os.fdopen(handle, "wb") as copy:
                shutil.copyfileobj(content, copy, PIECE_BYTES)
            Path(name).replace(path)
            self.kept[file.sha256] = file
        return file

    def keep_bytes(self, content: bytes) -> File:
        return self.keep(io.BytesIO(content))


def describe(content: IO[bytes]) -> File:
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    while piece := content.read(PIECE_BYTES):
        sha256.update(piece)
        sha1.update(piece)
    return File(size, sha256.hexdigest(), sha1.hexdigest())


def is_large(path: str, size: int) -> bool:
    return size >= LFS_FROM or (size > 0 and path.endswith(".safetensors"))


def when(count: int) -> str:
    """Each thing a second after the one before."""
    hours, seconds = divmod(count, 3600)
    return f"2026-01-01T{hours:02}:{seconds // 60:02}:{seconds % 60:02}.000Z"
