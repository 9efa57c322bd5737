"""What the Hub of the tests does wrong on command, and how the real client takes it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from tests.faults.builds import wait_for
from tests.hub.server import TOKEN, Hub
from tests.hub.server.misbehaviour import Kind
from tests.hub.test_server import REPO, WEIGHTS, digests

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's

NAME = "model.safetensors"
COMMIT = f"POST /api/models/{REPO}/commit/main"


def upload(api: HfApi, content: bytes = WEIGHTS) -> str:
    operations = [CommitOperationAdd(NAME, content), CommitOperationAdd("a.txt", b"a")]
    return api.create_commit(REPO, operations, commit_message="Publish").oid


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def puts(hub: Hub) -> list[str]:
    return [line for line in hub.requests if line.startswith("PUT")]


def test_a_refusal_lasts_for_so_many_requests(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    begin = f"POST /api/models/{REPO}/preupload"
    busy = hub.misbehave(begin, "status", status=429, retry_after=0)
    upload(api)
    assert busy.met == 1
    assert hub.requests.count(f"POST /api/models/{REPO}/preupload/main") == 2
    hub.misbehave("/api/models", "status", 2, status=403, message="no")
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="403 Forbidden: no"):
            api.model_info(REPO)
    assert api.model_info(REPO).id == REPO


def test_a_file_may_vanish_between_the_tree_and_the_download(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    hub.commit(REPO, {"a.txt": b"a"})
    hub.misbehave(f"/{REPO}/resolve", "status", None, status=404, code="EntryNotFound")
    assert list(digests(api)) == ["a.txt"]
    with pytest.raises(EntryNotFoundError):
        api.snapshot_download(REPO, cache_dir=tmp_path)


def test_an_upload_whose_connection_is_cut_is_made_again(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    hub.misbehave("PUT ", "cut")
    upload(api)
    assert len(puts(hub)) == 2
    assert len(WEIGHTS) < hub.received[puts(hub)[0]] < 2 * len(WEIGHTS)
    assert hub.files(REPO)[NAME] == WEIGHTS


@pytest.mark.parametrize("kind", ["cut", "stalled"])
def test_a_download_that_breaks_off_or_stalls_goes_on_where_it_was(
    hub: Hub, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    half = len(WEIGHTS) // 2
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)  # seconds without a byte
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", half // 10)  # what it may lose
    hub.commit(REPO, {NAME: WEIGHTS})
    hub.misbehave(f"GET /{REPO}/resolve", kind)
    path = api.hf_hub_download(REPO, NAME, cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert sorted(hub.sent) == [(NAME, 0, half), (NAME, half, len(WEIGHTS) - half)]


def test_wrong_bytes_have_the_right_length(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    hub.commit(REPO, {NAME: WEIGHTS})
    hub.misbehave(f"GET /{REPO}/resolve", "wrong")
    path = Path(api.hf_hub_download(REPO, NAME, cache_dir=tmp_path))
    assert path.stat().st_size == len(WEIGHTS) and path.read_bytes() != WEIGHTS


def test_a_branch_may_move_before_its_commit_is_told(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    hub.misbehave(COMMIT, "moving")
    told = upload(api)
    assert [title for _, title in hub.commits(REPO)] == ["Move on", "Publish", "initial commit"]
    assert told == hub.commits(REPO)[1][0] != api.model_info(REPO).sha


def test_a_commit_may_keep_other_bytes_which_only_its_tree_tells(
    hub: Hub, api: HfApi, mode: str
) -> None:
    api.create_repo(REPO)
    upload(api)
    before = digests(api)
    hub.misbehave(COMMIT, "altering", path=NAME)
    upload(api, WEIGHTS + b"new")
    after = digests(api)
    kept = hub.files(REPO)[NAME]
    assert kept[1:] == (WEIGHTS + b"new")[1:] and kept[0] != WEIGHTS[0]
    assert before["a.txt"] == after["a.txt"] and before[NAME] != after[NAME]


def test_a_commit_whose_answer_is_lost_has_been_made(
    hub: Hub, api: HfApi, mode: str, tmp_path: Path
) -> None:
    api.create_repo(REPO)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_bytes(b"a")
    hub.misbehave(COMMIT, "lost")
    if mode == "classic":  # one commit, of which the client does not know
        with pytest.raises(httpx2.RemoteProtocolError):
            api.upload_folder(repo_id=REPO, folder_path=tmp_path / "folder", commit_message="P")
        assert [title for _, title in hub.commits(REPO)] == ["P", "initial commit"]
    else:  # the client commits again, and the first commit stays
        api.upload_folder(repo_id=REPO, folder_path=tmp_path / "folder", commit_message="P")
        assert [title for _, title in hub.commits(REPO)] == ["P", "P", "initial commit"]


@pytest.mark.parametrize("kind", ["stalled", "silent"])
def test_an_upload_that_stalls_waits_until_it_is_released(hub: Hub, api: HfApi, kind: Kind) -> None:
    api.create_repo(REPO)
    stall = hub.misbehave("PUT ", kind)
    work = in_background(lambda: upload(api))
    wait_for(lambda: stall.met, "the upload")
    assert COMMIT not in hub.requests and work.is_alive()
    stall.release()
    work.join(60)
    assert hub.files(REPO)[NAME] == WEIGHTS and len(puts(hub)) == 1


def test_a_commit_that_is_silent_has_been_made(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    silent = hub.misbehave(COMMIT, "silent")
    work = in_background(lambda: upload(api))
    wait_for(lambda: len(hub.commits(REPO)) == 2, "the commit")
    assert work.is_alive()
    silent.release()
    work.join(60)
    assert not work.is_alive()


KILLED = """
import sys
from huggingface_hub import HfApi
HfApi(endpoint=sys.argv[1], token=sys.argv[2]).upload_file(
    repo_id="acme/demo", path_in_repo="model.safetensors", path_or_fileobj=sys.argv[3]
)
"""


def test_a_client_that_is_killed_leaves_nothing_behind(
    hub: Hub, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    api.create_repo(REPO)
    (tmp_path / "weights").write_bytes(WEIGHTS)
    words = [sys.executable, "-c", KILLED, hub.endpoint, TOKEN, str(tmp_path / "weights")]
    hub.bytes_per_second = 20_000  # the upload takes seconds
    client = subprocess.Popen(words)
    wait_for(lambda: puts(hub) and hub.received[puts(hub)[0]], "the first bytes")
    client.kill()
    client.wait()
    hub.bytes_per_second = None
    assert list(hub.files(REPO)) == [".gitattributes"]
    assert upload(api) == hub.commits(REPO)[0][0]
    assert hub.files(REPO)[NAME] == WEIGHTS
    assert [row.path for row in api.list_repo_tree(REPO) if isinstance(row, RepoFile)][1] == "a.txt"
