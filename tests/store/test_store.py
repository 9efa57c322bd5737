"""Artifacts appear whole or not at all, and damage is seen."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mlxforge.errors import ForgeError
from mlxforge.store.keys import digest
from mlxforge.store.store import Store

KEY = digest({"kind": "kind", "parameters": {}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cache")
    store.prepare()
    return store


def publish(store: Store, key: str = KEY, content: str = "content") -> str:
    with store.locked(key), store.staging(key) as out:
        (out / "file.txt").write_text(content)
        (out / "sub").mkdir()
        (out / "sub" / "other.txt").write_text("more")
        return store.publish("kind", key, {"parameters": {}}, out, 1.0).manifest.digest


def test_what_was_published_is_found_whole_and_read_only(store: Store) -> None:
    assert store.find("kind", KEY) is None
    publish(store)
    artifact = store.find("kind", KEY)
    assert artifact is not None and artifact.damage() == []
    assert (artifact.data / "sub" / "other.txt").read_text() == "more"
    assert (artifact.data / "file.txt").stat().st_mode & 0o222 == 0
    assert list((store.root / "staging").iterdir()) == []


def test_the_digest_depends_on_names_and_bytes_alone(store: Store) -> None:
    one, other = publish(store, "aa" * 32), publish(store, "bb" * 32)
    assert one == other != publish(store, "cc" * 32, "different")


def test_a_step_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.locked(KEY), store.staging(KEY) as out:
        (out / "half.txt").write_text("half")
        raise RuntimeError
    assert store.find("kind", KEY) is None
    assert list((store.root / "staging").iterdir()) == []


def test_what_a_killed_process_staged_is_not_mixed_in(store: Store) -> None:
    left = store.root / "staging" / KEY / "data"
    left.mkdir(parents=True)
    (left / "half.txt").write_text("half")
    publish(store)
    artifact = store.find("kind", KEY)
    assert artifact is not None and set(artifact.manifest.files) == {"file.txt", "sub/other.txt"}


def test_publishing_again_keeps_the_first(store: Store) -> None:
    digest = publish(store)
    publish(store, content="other bytes")
    artifact = store.find("kind", KEY)
    assert artifact is not None and artifact.manifest.digest == digest


@pytest.mark.parametrize(
    "harm,says",
    [
        (lambda data: (data / "file.txt").unlink(), "file.txt is missing"),
        (lambda data: (data / "new.txt").write_text(""), "new.txt does not belong here"),
        (lambda data: _rewrite(data / "file.txt", "contenT"), "file.txt has other bytes"),
        (lambda data: _rewrite(data / "file.txt", "x"), "file.txt has 1 bytes, not 7"),
    ],
)
def test_every_kind_of_damage_is_seen(store: Store, harm, says: str) -> None:
    publish(store)
    artifact = store.find("kind", KEY)
    assert artifact is not None
    harm(artifact.data)
    assert any(says in problem for problem in artifact.damage())


def _rewrite(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text)


def test_a_damaged_manifest_is_said_to_be_one(store: Store) -> None:
    publish(store)
    artifact = store.find("kind", KEY)
    assert artifact is not None
    _rewrite(artifact.folder / "manifest.json", "{")
    with pytest.raises(ForgeError, match=r"manifest\.json is damaged"):
        artifact.damage()


def test_of_many_that_publish_at_once_one_wins_and_none_fails(store: Store) -> None:
    failures: list[BaseException] = []

    def race() -> None:
        try:
            publish(store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    artifact = store.find("kind", KEY)
    assert artifact is not None and artifact.damage() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ForgeError, match="cannot be written"):
        Store(tmp_path / "cache").prepare()


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ForgeError, match="cannot be written"):
        Store(tmp_path / "cache").prepare()
