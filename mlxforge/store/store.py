"""The store: immutable artifacts, each in a folder under its key.

    cache/
      artifacts/KIND/KEY/manifest.json   how it was made, what it must hash to
      artifacts/KIND/KEY/data/…          the files, read-only
      staging/KEY/data/                  being made, under locks/KEY.lock
      checkpoints/KEY/…                  what a long step needs to go on after it was killed
      models/NAME -> ../artifacts/quantize/KEY/data
      built/NAME.json                    the keys of a recipe's last finished build
      logs/KIND-KEY.log                  what the step's process printed
      hashes.json, recipes.json          hints (see ``store.hashes``, ``recipe.memory``)

A folder under ``artifacts`` appears by one rename after everything in it was synced to disk:
what is there is whole. Whoever holds the lock of a key owns its staging folder; what a killed
process left there is removed by the next holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.progress import Work
from mlxforge.store.hashes import sha256_of
from mlxforge.store.keys import digest, files_digest
from mlxforge.store.manifest import FileFact, Manifest
from mlxforge.store.sync import sync

__all__ = ["Artifact", "Store"]


class Artifact:
    """A finished artifact in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.folder / "manifest.json")

    def damage(self) -> list[str]:
        """Every way in which the files differ from the manifest; empty where it is intact."""
        manifest = self.manifest
        present = {
            path.relative_to(self.data).as_posix()
            for path in self.data.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }
        found = []
        if files_digest({n: f.sha256 for n, f in manifest.files.items()}) != manifest.digest:
            found.append("manifest.json was changed: its digest is not that of its files")
        if digest({"kind": manifest.kind, **manifest.recipe}) != self.folder.name:
            found.append("manifest.json was changed: its recipe does not give the artifact's key")
        found += [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
        found += [
            f"{name} does not belong here" for name in sorted(present - manifest.files.keys())
        ]
        for name in sorted(present & manifest.files.keys()):
            path, fact = self.data / name, manifest.files[name]
            if path.is_symlink():
                found.append(f"{name} is a link, not the file that was written")
            elif path.stat().st_size != fact.size:
                found.append(f"{name} has {path.stat().st_size} bytes, not {fact.size}")
            elif sha256_of(path) != fact.sha256:
                found.append(f"{name} has other bytes than were written")
        return found


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, kind: str, key: str) -> Artifact | None:
        folder = self.root / "artifacts" / kind / key
        return Artifact(folder) if (folder / "manifest.json").is_file() else None

    def artifacts(self) -> Iterator[tuple[str, str, Artifact]]:
        """Every artifact as (kind, key, artifact), in a stable order."""
        for manifest in sorted((self.root / "artifacts").glob("*/*/manifest.json")):
            folder = manifest.parent
            yield folder.parent.name, folder.name, Artifact(folder)

    def log(self, kind: str, key: str) -> Path:
        return self.root / "logs" / f"{kind}-{key[:16]}.log"

    def prepare(self) -> None:
        """Make the store's folders; raises ForgeError where it cannot be written."""
        if set(str(self.root)) & set("[]*?"):
            raise ForgeError(
                f"{self.root} has one of [ ] * ? in its path, and mlx_lm reads no model there",
                "move the project to a folder without them",
            )
        try:
            for name in ("artifacts", "staging", "locks", "models", "built", "logs"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
            probe = self.root / "staging" / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ForgeError(
                f"the store {self.root} cannot be written: {os.strerror(error.errno or 0)}",
                "make the folder writable, or free space on its disk",
            ) from error

    @contextmanager
    def in_use(self, alone: bool = False) -> Iterator[None]:
        """Builds hold the store together; who removes from it must have it ``alone``.

        ForgeError where that cannot be had at once. The system frees it when a holder dies.
        """
        with (self.root / "locks" / "store.lock").open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = "a build is running" if alone else "`doit gc --delete` is running"
                raise ForgeError(busy, "try again when it is done") from None
            yield

    @contextmanager
    def locked(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock of ``key``. Where another process makes the same thing, ``waiting`` is
        called once, and then it is waited for; a lock is free as soon as its holder is gone."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / "locks" / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """An empty folder to write into. To be entered under the lock of ``key``."""
        folder = self.root / "staging" / key
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        try:
            yield folder / "data"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def checkpoints(self, key: str) -> Iterator[Path]:
        """A folder with what a killed run of the step has left in it, or empty. Removed at the
        end, unless that is an error. To be entered under the lock of ``key``."""
        folder = self.root / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self,
        kind: str,
        key: str,
        recipe: Mapping[str, Any],
        data: Path,
        seconds: float,
        digests: Mapping[str, str] = MappingProxyType({}),
        work: Mapping[str, Work] = MappingProxyType({}),
        peak_bytes: int | None = None,
    ) -> Artifact:
        """Turn the staged folder ``data`` into the artifact of ``key``, all or nothing.

        ``digests`` are those of files that were hashed while they were written; the others are
        read for it. ``work`` and ``peak_bytes`` are told in the manifest.
        """
        try:
            files = {}
            for path in sorted(path for path in data.rglob("*") if path.is_file()):
                name = path.relative_to(data).as_posix()
                files[name] = FileFact(path.stat().st_size, digests.get(name) or sha256_of(path))
                path.chmod(0o444)
                sync(path)
            manifest = Manifest(
                kind=kind,
                key=key,
                digest=files_digest({name: fact.sha256 for name, fact in files.items()}),
                recipe=recipe,
                files=files,
                host={
                    "system": f"{platform.system()} {platform.machine()}",
                    "python": platform.python_version(),
                },
                seconds=round(seconds, 3),
                work=work,
                peak_bytes=peak_bytes,
            )
            written = data.parent / "manifest.json"
            written.write_text(manifest.dumps())
            sync(written)
            for folder in (*(path for path in data.rglob("*") if path.is_dir()), data, data.parent):
                sync(folder)
            place = self.root / "artifacts" / kind / key
            place.parent.mkdir(parents=True, exist_ok=True)
            self._rename(data.parent, place)
            sync(place.parent)
        except OSError as error:
            raise disk_error(error) from error
        return Artifact(place)

    def _rename(self, source: Path, place: Path) -> None:
        try:
            os.rename(source, place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # a folder without a manifest is not ours: nothing publishes one
            if not (place / "manifest.json").is_file():
                shutil.rmtree(place)
                os.rename(source, place)


def disk_error(error: OSError) -> ForgeError:
    """What a user is told when the disk refuses."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ForgeError(
            f"the disk is full{where}", "free space (`doit gc` shows what can go) and build again"
        )
    why = os.strerror(error.errno) if error.errno else str(error)
    return ForgeError(f"the system refused: {why}{where}")
