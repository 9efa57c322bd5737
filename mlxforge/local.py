"""Folders and files outside the store, known by the digest of what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxforge.errors import ForgeError, Position
from mlxforge.models.source import check_source, source_files
from mlxforge.store.hashes import FileHashes
from mlxforge.store.keys import files_digest

__all__ = ["Local", "LocalFiles", "NotRead"]


class NotRead(Exception):
    """A digest is not known, and reading the file was not allowed."""


@dataclass(frozen=True)
class Local:
    """A folder or a file, where it lies and the key that stands for its content.

    ``facts`` are its files' sizes and times when they were hashed, so that a change while a
    step reads them does not go unnoticed.
    """

    path: Path
    key: str
    facts: tuple[tuple[Path, int, int], ...] = ()

    def changed(self) -> Path | None:
        """The first file that is not what it was when it was hashed."""
        for path, size, mtime in self.facts:
            try:
                status = path.stat()
            except OSError:
                return path
            if (status.st_size, status.st_mtime_ns) != (size, mtime):
                return path
        return None


class LocalFiles:
    """Looks local inputs up; each is hashed at most once per version and looked at once per run.

    ``announce(files, bytes)`` is called before files are read.
    """

    def __init__(self, hashes: FileHashes, announce: Callable[[int, int], None]) -> None:
        self._hashes = hashes
        self._announce = announce
        self._found: dict[Path, Local] = {}

    def folder(self, path: Path, at: Position | None, read: bool = True) -> Local:
        """A source folder. ForgeError where it cannot be one, NotRead where ``read`` forbids."""
        if path not in self._found:
            check_source(path, at)
            files = source_files(path)
            digests = self._digests(files, read)
            key = files_digest({file.name: digests[file] for file in files})
            self._found[path] = Local(path, key, _facts(files))
        return self._found[path]

    def file(self, path: Path, at: Position | None, read: bool = True) -> Local:
        """One file, such as a text."""
        if path not in self._found:
            if not path.is_file():
                raise ForgeError(f"the text {path} does not exist", at=at)
            self._found[path] = Local(path, self._digests([path], read)[path], _facts([path]))
        return self._found[path]

    def _digests(self, files: Sequence[Path], read: bool) -> dict[Path, str]:
        if not read and any(self._hashes.known(file) is None for file in files):
            raise NotRead
        return self._hashes.of(files, self._announce)


def _facts(files: Sequence[Path]) -> tuple[tuple[Path, int, int], ...]:
    found = []
    for file in files:
        status = file.stat()
        found.append((file, status.st_size, status.st_mtime_ns))
    return tuple(found)
