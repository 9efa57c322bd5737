"""A file is read once per version, and never believed unchanged when it is not."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from mlxforge.store.hashes import FileHashes


def settle(path: Path) -> None:
    """Make the file look as old as files usually are."""
    old = time.time() - 60
    os.utime(path, (old, old))


def quiet(files: int, size: int) -> None: ...


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    found = FileHashes(tmp_path / "memory.json").of([file], quiet)
    assert found[file].sha256 == hashlib.sha256(b"abc").hexdigest()


def test_a_change_is_seen_even_when_size_and_time_are_forged(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    settle(file)
    times = (file.stat().st_atime, file.stat().st_mtime)
    hashes = FileHashes(tmp_path / "memory.json")
    hashes.of([file], quiet)
    file.write_bytes(b"abd")
    os.utime(file, times)
    assert hashes.of([file], quiet)[file].sha256 == hashlib.sha256(b"abd").hexdigest()


def test_a_file_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    told: list[tuple[int, int]] = []
    FileHashes(tmp_path / "memory.json").of([file], lambda *facts: told.append(facts))
    FileHashes(tmp_path / "memory.json").of([file], lambda *facts: told.append(facts))
    assert told == [(1, 3)]


def test_a_second_write_right_after_the_first_is_seen(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "memory.json")
    file = tmp_path / "file"
    for round in range(20):
        content = b"%3d" % round
        file.write_bytes(content)
        assert hashes.of([file], quiet)[file].sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_whose_content_is_dated_in_the_future_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    later = time.time() + 3600
    os.utime(file, (later, later))
    hashes = FileHashes(tmp_path / "memory.json")
    hashes.of([file], quiet)
    assert hashes.known(file) is not None


def test_a_damaged_memory_is_as_good_as_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    path = os.path.realpath(file)
    damaged = (b"", b"[]", b"{", b'{"x": 1}', b"\xff\xff", b'{"%s": 5}' % path.encode())
    for content in damaged:
        (tmp_path / "memory.json").write_bytes(content)
        assert len(FileHashes(tmp_path / "memory.json").of([file], quiet)) == 1
