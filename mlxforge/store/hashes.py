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
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlxforge.errors import ForgeError

__all__ = ["FileHashes", "sha256_of"]

TICK_NS = 50_000_000  # longer than any kernel's tick
COARSE_TICK_NS = 2_000_000_000  # where times are whole seconds


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _unsettled_ns(facts: list[int]) -> int:
    """How long until a write to the file would show in its times; 0 and below: it would now."""
    newest = max(facts[1], facts[2])
    tick = TICK_NS if newest % 1_000_000_000 else COARSE_TICK_NS
    return min(newest + tick - time.time_ns(), COARSE_TICK_NS)


class FileHashes:
    """sha256 digests of files, computed once per version of a file."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[int | str]] | None = None

    def known(self, path: Path) -> str | None:
        """The digest if the file is unchanged since it was hashed; None means unknown."""
        entry = self._entries().get(os.path.realpath(path))
        try:
            if entry is not None and entry[:4] == _facts(path):
                return str(entry[4])
        except OSError:
            pass
        return None

    def of(self, paths: Sequence[Path], announce: Callable[[int, int], None]) -> dict[Path, str]:
        """The digest of every path; files that are not known yet are read on all cores.

        ``announce`` is told how many files and bytes have to be read, before they are.
        """
        found = {path: self.known(path) for path in paths}
        unknown = [path for path, value in found.items() if value is None]
        if unknown:
            try:
                announce(len(unknown), sum(path.stat().st_size for path in unknown))
                with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
                    fresh = dict(zip(unknown, pool.map(self._read, unknown), strict=True))
            except OSError as error:
                raise ForgeError(
                    f"cannot read {error.filename}: {os.strerror(error.errno or 0)}"
                ) from error
            self._remember(fresh)
            found |= {path: value for path, (_, value) in fresh.items()}
        return {path: value for path, value in found.items() if value is not None}

    def _read(self, path: Path) -> tuple[list[int], str]:
        facts = _facts(path)
        if (wait := _unsettled_ns(facts)) > 0:
            time.sleep(wait / 1e9)
            facts = _facts(path)
        value = sha256_of(path)
        if _facts(path) != facts:
            raise ForgeError(f"{path} was changed while it was read", "run the command again")
        return facts, value

    def _entries(self) -> dict[str, list[int | str]]:
        if self._known is None:
            try:
                known = json.loads(self._memory.read_bytes())
                self._known = known if isinstance(known, dict) else {}
            except (OSError, ValueError):
                self._known = {}
        return self._known

    def _remember(self, fresh: dict[Path, tuple[list[int], str]]) -> None:
        self._known = None  # another process may have written since
        entries = self._entries()
        for path, (facts, value) in fresh.items():
            if _unsettled_ns(facts) <= 0:
                entries[os.path.realpath(path)] = [*facts, value]
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._memory.parent, prefix=".hashes-", delete=False
            ) as file:
                json.dump(entries, file)
            os.replace(file.name, self._memory)
        except OSError:
            pass  # only a hint: the files are hashed again next time
