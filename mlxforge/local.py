"""Folders and files outside the store, known by the digest of what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxforge.errors import ForgeError, Position
from mlxforge.models.source.files import check_source, source_files
from mlxforge.recipe.further import NOTHING, Further
from mlxforge.recipe.words import printable
from mlxforge.store.hashes import Facts, FileHashes, Hashed, file_facts
from mlxforge.store.keys import files_digest

__all__ = ["Local", "LocalFiles", "NotRead"]


class NotRead(Exception):
    """A digest is not known, and reading the file was not allowed."""


@dataclass(frozen=True)
class Local:
    """A folder or a file, where it lies and the key that stands for its content.

    ``facts`` are those of its files under which they were hashed, so that a change while a step
    reads them does not go unnoticed. ``further`` is what a recipe wants of a folder besides.
    """

    path: Path
    key: str
    facts: tuple[tuple[Path, Facts], ...] = ()
    further: Further = NOTHING

    @property
    def names(self) -> list[str]:
        """Of the files that the key stands for."""
        return [path.name for path, _ in self.facts]

    def changed(self) -> Path | None:
        """The first file that is not what it was when it was hashed, is gone, or is new."""
        known = dict(self.facts)
        folder = self.path.is_dir()
        present = set(source_files(self.path, self.further)) if folder else {self.path}
        for path in sorted(known.keys() | present):
            try:
                if path not in known or file_facts(path) != known[path]:
                    return path
            except OSError:
                return path
        return None


class LocalFiles:
    """Looks local inputs up; each is hashed at most once per version and looked at once per run.

    ``announce(files, bytes)`` is called before files are read.
    """

    def __init__(self, hashes: FileHashes, announce: Callable[[int, int], None]) -> None:
        self._hashes = hashes
        self._announce = announce
        self._folders: dict[tuple[Path, Further], Local] = {}
        self._files: dict[Path, Local] = {}

    def folder(
        self, path: Path, at: Position | None, further: Further = NOTHING, read: bool = True
    ) -> Local:
        """A source folder. ForgeError where it cannot be one, NotRead where ``read`` forbids."""
        if (path, further) not in self._folders:
            with _readable(path, at):
                check_source(path, at)
                hashed = self._hashed(source_files(path, further), read)
            key = files_digest({file.name: found.sha256 for file, found in hashed.items()})
            self._folders[path, further] = Local(path, key, _facts(hashed), further)
        return self._folders[path, further]

    def file(self, path: Path, at: Position | None, read: bool = True) -> Local:
        """One file, such as a text."""
        if path not in self._files:
            with _readable(path, at):
                if not path.is_file():
                    what = "is a folder, not a file" if path.is_dir() else "does not exist"
                    raise ForgeError(f"the text {path} {what}", at=at)
                if not path.stat().st_size:
                    raise ForgeError(f"the text {path} is empty", at=at)
                hashed = self._hashed([path], read)
            self._files[path] = Local(path, hashed[path].sha256, _facts(hashed))
        return self._files[path]

    def sha256(self, path: Path) -> str:
        """The digest of any file, read only where it is not known yet."""
        return self._hashed([path], True)[path].sha256

    def _hashed(self, files: Sequence[Path], read: bool) -> dict[Path, Hashed]:
        if not read and any(self._hashes.known(file) is None for file in files):
            raise NotRead
        return self._hashes.of(files, self._announce)


def _facts(hashed: Mapping[Path, Hashed]) -> tuple[tuple[Path, Facts], ...]:
    return tuple((file, found.facts) for file, found in hashed.items())


@contextmanager
def _readable(path: Path, at: Position | None) -> Iterator[None]:
    """Turns what the system says of a path into what a user is told."""
    try:
        yield
    except OSError as error:
        raise ForgeError(f"{shortened(path)} cannot be read: {error.strerror}", at=at) from error


def shortened(path: Path) -> str:
    text = printable(str(path))
    return text if len(text) <= 120 else f"{text[:60]}…{text[-50:]}"
