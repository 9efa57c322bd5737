"""The heads of safetensors files on the Hub: their headers, by range requests, and no weights."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx2 import Response, TransportError
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from mlxforge.errors import ForgeError
from mlxforge.hub.cache import is_whole, snapshot_folder
from mlxforge.hub.client import fetch_each
from mlxforge.hub.failures import told
from mlxforge.models.source.headers import LONGEST_HEADER
from mlxforge.progress import Progress

__all__ = ["GUESS_BYTES", "fetch_heads"]

GUESS_BYTES = 64 << 10
"""What is asked for first: the header of a dense model's shard is shorter, so that most need one
request, and of very many shards little is fetched in vain."""

TRIES = 4


def fetch_heads(
    repo: str,
    commit: str,
    shards: Mapping[str, Mapping[str, Any]],
    out: Path,
    progress: Progress,
) -> None:
    """Write each of ``shards`` (name -> size and digest), cut after its header, into ``out``.

    What is in the cache whole is read there. Nothing here can check a digest: that a header is the
    file's own shows when the file is there. Raises ForgeError for a header that cannot be one, and
    for a file that has another size than it should.
    """
    folder = snapshot_folder(repo, commit)
    guard, written = threading.Lock(), 0

    def fetch(name: str) -> None:
        nonlocal written
        size = shards[name]["size"]
        what = f"{name} of {repo}"
        if is_whole(folder / name, shards[name]):
            head = _read(folder / name, what, size)
        else:
            head = _ask(hf_hub_url(repo, name, revision=commit), what, size)
        (out / name).write_bytes(head)
        with guard:
            written += 1
            progress(written, len(shards), "headers")

    try:
        fetch_each(shards, fetch, repo, commit)
    except Exception as error:
        raise told(error, repo, commit) from error


def _read(path: Path, what: str, size: int) -> bytes:
    with path.open("rb") as file:
        head = file.read(8)
        return head + file.read(_needed(head, what, size) - 8)


def _ask(url: str, what: str, size: int) -> bytes:
    """Goes on after broken connections, ``TRIES`` times without a byte in between."""
    head = bytearray()
    tries = furthest = 0
    wanted = min(GUESS_BYTES, size)
    while len(head) < wanted:
        furthest = max(furthest, len(head))
        try:
            _receive(url, what, size, head, wanted)
        except TransportError:
            tries = 1 if len(head) > furthest else tries + 1
            if tries >= TRIES:
                raise
            time.sleep(2.0 ** (tries - 1))
        else:
            if len(head) <= furthest:
                raise ForgeError(f"the Hub gives no more than {len(head)} bytes of {what}")
        if len(head) >= 8:
            wanted = _needed(head, what, size)
    return bytes(head[: _needed(head, what, size)])


def _receive(url: str, what: str, size: int, head: bytearray, wanted: int) -> None:
    """Add to ``head`` until it has the first ``wanted`` bytes. Where the Hub sends the whole file,
    the connection is closed when there is enough of it."""
    headers = build_hf_headers() | {
        "Accept-Encoding": "identity",
        "Range": f"bytes={len(head)}-{wanted - 1}",
    }
    with http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        max_retries=TRIES - 1,
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        _check_size(response, what, size)
        if response.status_code != 206:
            head.clear()
        elif _first_byte(response) != len(head):
            raise ForgeError(f"the Hub gave another part of {what} than it was asked for")
        for piece in response.iter_bytes():
            head += piece
            if len(head) >= wanted:
                return


def _check_size(response: Response, what: str, size: int) -> None:
    whole = response.headers.get("Content-Length")
    if response.status_code == 206:
        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if whole and whole.isdecimal() and int(whole) != size:
        raise ForgeError(
            f"{what} has {whole} bytes on the Hub, the lock says {size}",
            "`doit lock --check NAME` tells what has moved",
        )


def _first_byte(response: Response) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _needed(head: bytes | bytearray, what: str, size: int) -> int:
    """How many bytes a file's length and header take, by its first eight."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > min(size - 8, LONGEST_HEADER):
        raise ForgeError(
            f"{what} is not a safetensors file: its header claims {length} bytes, "
            f"the file has {size}",
            "use another revision, or tell the repository's owner",
        )
    return 8 + length
