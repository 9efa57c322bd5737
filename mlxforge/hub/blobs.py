"""One large file of a repository, fetched so that a download that was killed goes on.

huggingface_hub gives unfinished files random names and begins them again in the next process. Here
the unfinished file is named after its digest, as in older versions of the client, under the lock
that the client takes; a finished one lies where the client looks for it. It is hashed while it is
written, and what is not what it should be never gets its place.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from httpx2 import TransportError
from huggingface_hub import constants
from huggingface_hub.utils import (
    WeakFileLock,
    build_hf_headers,
    hf_raise_for_status,
    http_stream_backoff,
)

__all__ = ["Blob", "OtherBytes", "fetch_blob"]

PIECE_BYTES = 4 << 20
TRIES = 4

Count = Callable[[int], None]


class OtherBytes(Exception):
    """The Hub gave a file of the right length that has another digest."""


@dataclass(frozen=True)
class Blob:
    """A file that is known by its content: ``size`` bytes at ``url``, to be put at ``path``."""

    url: str
    path: Path
    sha256: str
    size: int

    @property
    def unfinished(self) -> Path:
        return self.path.with_name(f"{self.sha256}.incomplete")

    @property
    def lock(self) -> Path:
        repository = self.path.parents[1]
        return repository.parent / ".locks" / repository.name / f"{self.sha256}.lock"

    def is_at(self, path: Path) -> bool:
        """Whether the file at ``path`` is this one."""
        return path.exists() and self.path.exists() and path.samefile(self.path)

    def there(self) -> int:
        """How many of its bytes are on the disk."""
        for path in (self.path, self.unfinished):
            if path.is_file():
                return min(path.stat().st_size, self.size)
        return 0


def fetch_blob(blob: Blob, counted: int, count: Count, stop: threading.Event) -> bool:
    """Fetch what is missing of ``blob``; ``count`` is told of bytes as they arrive (and, negative,
    of those that have to come again). ``counted`` are the bytes that the caller saw ``there()``:
    those that another process has fetched since then are told as well. Ends early, with nothing
    lost, when ``stop`` is set. Whether all of it was hashed: a blob that was there before is not.

    Raises OtherBytes, OSError, and what the client raises.
    """
    blob.lock.parent.mkdir(parents=True, exist_ok=True)
    blob.path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(blob.lock):
        if blob.path.exists():
            count(blob.size - counted)
            return False
        # unbuffered: a killed process has written what it has counted
        with blob.unfinished.open("a+b", buffering=0) as file:
            sink = _Sink(cast(BinaryIO, file), count, stop)
            count(sink.size - counted)
            if sink.size > blob.size:
                sink.restart()
            try:
                _receive(blob, sink)
            except _Stopped:
                return False
            digest = sink.sha256()
        if digest != blob.sha256:
            blob.unfinished.unlink()
            raise OtherBytes
        blob.unfinished.replace(blob.path)
        return True


class _Stopped(Exception):
    """Another file could not be fetched: this one need not be."""


class _Sink:
    """The unfinished file, hashed as far as it is there; what comes next is added and hashed."""

    def __init__(self, file: BinaryIO, count: Count, stop: threading.Event) -> None:
        self._file, self._count, self._stop = file, count, stop
        self._hash = hashlib.sha256()
        self.size = 0
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            self._hash.update(piece)
            self.size += len(piece)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, piece: bytes) -> None:
        if self._stop.is_set():
            raise _Stopped
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]
        self._hash.update(piece)
        self.size += len(piece)
        self._count(len(piece))

    def restart(self) -> None:
        self._count(-self.size)
        self._hash, self.size = hashlib.sha256(), 0
        self._file.truncate(0)


def _receive(blob: Blob, sink: _Sink) -> None:
    """All that is missing; goes on after broken connections and silences, ``TRIES`` times without
    a byte in between. How long to wait where the Hub is busy, the client knows."""
    tries = furthest = 0
    while sink.size < blob.size:
        furthest = max(furthest, sink.size)
        try:
            _receive_some(blob, sink)
        except TransportError:
            tries = 1 if sink.size > furthest else tries + 1
            if tries >= TRIES:
                raise
            time.sleep(2.0 ** (tries - 1))
        else:
            if sink.size <= furthest:
                raise OtherBytes


def _receive_some(blob: Blob, sink: _Sink) -> None:
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if sink.size:
        headers["Range"] = f"bytes={sink.size}-"
    with http_stream_backoff(
        "GET",
        blob.url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        max_retries=TRIES - 1,
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        if sink.size and response.status_code != 206:  # all of it, from the beginning
            sink.restart()
        for piece in response.iter_bytes():
            sink.write(piece)
