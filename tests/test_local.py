"""A source that changes while it is used is noticed, whatever changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxforge.errors import ForgeError
from mlxforge.local import Local, LocalFiles
from mlxforge.store.hashes import FileHashes, sha256_of


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(FileHashes(tmp_path / "memory.json"), lambda *_: None)


@pytest.fixture
def source(tiny: Callable[..., Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny(), tmp_path / "source")


def folder(files: LocalFiles, source: Path) -> Local:
    found = files.folder(source, None)
    assert found.changed() is None
    return found


def test_other_bytes_a_new_file_and_a_lost_file_are_changes(
    files: LocalFiles, source: Path
) -> None:
    found = folder(files, source)
    (source / "LICENSE").write_text("new")
    assert found.changed() == source / "LICENSE"
    (source / "LICENSE").unlink()
    (source / "notes.md").write_text("of no interest to a build")
    assert found.changed() is None
    config = source / "config.json"
    config.write_text(config.read_text())
    assert found.changed() == config
    config.unlink()
    assert found.changed() == config


def test_a_file_that_changes_while_the_others_are_hashed_is_a_change(
    files: LocalFiles, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The facts are those under which each file was hashed, not those at the end of it all."""
    config = source / "config.json"

    def slow(path: Path) -> str:
        digest = sha256_of(path)
        if path.name == "tokenizer.json":  # read last but one; by now config.json was read
            config.write_text(config.read_text() + " ")
        return digest

    monkeypatch.setattr("mlxforge.store.hashes.sha256_of", slow)
    monkeypatch.setattr("mlxforge.store.hashes.os.cpu_count", lambda: 1)
    assert files.folder(source, None).changed() == config


@pytest.mark.parametrize("path", ["x" * 300, "nowhere", "."])
def test_a_text_that_cannot_be_one_is_refused(files: LocalFiles, tmp_path: Path, path: str) -> None:
    with pytest.raises(ForgeError) as caught:
        files.file(tmp_path / path, None)
    says = {"x" * 300: "File name too long", "nowhere": "does not exist", ".": "is a folder"}
    assert says[path] in caught.value.message and len(caught.value.message) < 400


def test_a_folder_that_was_looked_at_as_a_text_is_still_checked(
    files: LocalFiles, tmp_path: Path
) -> None:
    for look in (files.file, files.folder):
        with pytest.raises(ForgeError):
            look(tmp_path, None)
