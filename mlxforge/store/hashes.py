"""Digests of files outside the store, remembered so that no file is read twice.

The memory is one JSON file, ``path -> [size, mtime, ctime, inode, sha256]``. It is a hint and
nothing more: an entry counts only while all four facts are still true of the file, so it never
needs invalidation and may be deleted at any time. A file that was written a moment ago is first
let alone until its file system's clock has ticked: a second write within the tick would leave the
same times.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError

__all__ = ["Facts", "FileHashes", "Hashed", "file_facts", "sha256_of"]

TICK_NS = 50_000_000  # longer than any kernel's tick
COARSE_TICK_NS = 2_000_000_000  # where times are whole seconds


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Facts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Hashed:
    """A file's digest and what was true of the file when it was read."""

    sha256: str
    facts: Facts


def file_facts(path: Path) -> Facts:
    """Size, time of the content, time of the entry (which nobody can forge), inode."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _unsettled_ns(facts: Facts) -> int:
    """How long until a write to the file would show in its times; 0 and below: it would now."""
    changed = facts[2]
    tick = TICK_NS if changed % 1_000_000_000 else COARSE_TICK_NS
    return min(changed + tick - time.time_ns(), COARSE_TICK_NS)


class FileHashes:
    """sha256 digests of files, computed once per version of a file."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, Any] | None = None

    def known(self, path: Path) -> Hashed | None:
        """The digest if the file is unchanged since it was hashed; None means unknown."""
        entry = self._entries().get(os.path.realpath(path))
        try:
            facts = file_facts(path)
        except OSError:
            return None
        if isinstance(entry, list) and len(entry) == 5 and tuple(entry[:4]) == facts:
            return Hashed(str(entry[4]), facts)
        return None

    def of(self, paths: Sequence[Path], announce: Callable[[int, int], None]) -> dict[Path, Hashed]:
        """The digest of every path; files that are not known yet are read on all cores.

        ``announce`` is told how many files and bytes have to be read, before they are.
        """
        found = {path: self.known(path) for path in paths}
        unknown = [path for path, value in found.items() if value is None]
        if unknown:
            from concurrent.futures import ThreadPoolExecutor

            try:
                announce(len(unknown), sum(path.stat().st_size for path in unknown))
                with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
                    fresh = dict(zip(unknown, pool.map(self._read, unknown), strict=True))
            except OSError as error:
                raise ForgeError(
                    f"cannot read {error.filename}: {os.strerror(error.errno or 0)}"
                ) from error
            self._remember(fresh)
            found |= fresh
        return {path: value for path, value in found.items() if value is not None}

    def _read(self, path: Path) -> Hashed:
        facts = file_facts(path)
        if (wait := _unsettled_ns(facts)) > 0:
            time.sleep(wait / 1e9)
            facts = file_facts(path)
        found = Hashed(sha256_of(path), facts)
        if file_facts(path) != facts:
            raise ForgeError(f"{path} was changed while it was read", "run the command again")
        return found

    def _entries(self) -> dict[str, Any]:
        if self._known is None:
            try:
                known = json.loads(self._memory.read_bytes())
                self._known = known if isinstance(known, dict) else {}
            except (OSError, ValueError):
                self._known = {}
        return self._known

    def _remember(self, fresh: dict[Path, Hashed]) -> None:
        self._known = None  # another process may have written since
        entries = self._entries()
        for path, found in fresh.items():
            if _unsettled_ns(found.facts) <= 0:
                entries[os.path.realpath(path)] = [*found.facts, found.sha256]
        try:
            import tempfile

            self._memory.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._memory.parent, prefix=".hashes-", delete=False
            ) as file:
                json.dump(entries, file)
            os.replace(file.name, self._memory)
        except OSError:
            pass  # only a hint: the files are hashed again next time
