"""The folder that inputs are made in and kept.

    inputs/NAME-DIGEST/   the digest is that of the input's description
    work/                 what runs write; empty between them
    lock                  held by the one run that uses it

Nothing is lost with it but the time to make the inputs again.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from mlxforge.errors import ForgeError

__all__ = ["Input", "Scratch", "default_folder"]

SPARE = 1 << 30  # bytes left free on the disk


class Input(Protocol):
    """A frozen dataclass: its ``repr`` tells one version of an input from another."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int:
        """Bytes on disk, at least."""
        ...

    def make(self, folder: Path) -> None:
        """Write it into the empty ``folder``; the same bytes every time."""
        ...


def default_folder() -> Path:
    """In the user's cache folder."""
    if sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "mlxforge-benchmarks"


class Scratch:
    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def work(self) -> Path:
        return self.root / "work"

    def place(self, wanted: Input) -> Path:
        return self.root / "inputs" / f"{wanted.name}-{zlib.crc32(repr(wanted).encode()):08x}"

    def folder(self, wanted: Input, tell: Callable[[str], None] = lambda line: None) -> Path:
        """The input's folder; made first where it is not there whole."""
        place = self.place(wanted)
        if not place.is_dir():
            tell(f"making {wanted.name}, {wanted.size / 1e9:.2f} GB, in {place}")
            staged = place.with_name(f".{place.name}.making")
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            wanted.make(staged)
            staged.rename(place)
        return place

    def missing(self, wanted: Iterable[Input]) -> int:
        """Bytes of the inputs that would have to be made, each counted once."""
        return sum(each.size for each in dict.fromkeys(wanted) if not self.place(each).is_dir())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Two runs at once would measure each other; ForgeError where there is one already."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ForgeError(f"benchmarks are running already in {self.root}") from None
        try:
            yield
        finally:
            lock.release()

    def check_room(self, needed: int) -> None:
        """ForgeError where the disk has not ``needed`` bytes, and some to spare."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < needed + SPARE:
            raise ForgeError(
                f"{self.root} needs {(needed + SPARE) / 1e9:.1f} GB, and {free / 1e9:.1f} are free",
                "give a folder on a larger disk with --scratch, or fewer rows with --only",
            )
