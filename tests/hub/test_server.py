"""The Hub of the tests against the real client: what is told, given, taken and refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import get_session

from tests.hub.server import LFS_FROM, TOKEN, Hub
from tests.hub.server.access import signed

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's

REPO = "acme/demo"
WEIGHTS = bytes(range(256)) * 200
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "small.safetensors": b"\0" * 8,
    "notes/deep/a b.txt": b"words\n",
    "empty.txt": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "folder", FILES)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read(folder: str | Path) -> dict[str, bytes]:
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def digests(api: HfApi, **where: str) -> dict[str, str]:
    """What the tree says of each file: sha256 of the large ones, git's sha1 of the others."""
    rows = api.list_repo_tree(REPO, recursive=True, **where)
    files = [row for row in rows if isinstance(row, RepoFile)]
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}


def test_an_upload_comes_back_byte_for_byte(
    hub: Hub, api: HfApi, mode: str, folder: Path, tmp_path: Path
) -> None:
    assert api.create_repo(REPO, private=True).repo_id == REPO
    told = api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="Publish")
    assert hub.repositories[REPO].private
    assert [title for _, title in hub.commits(REPO)] == ["Publish", "initial commit"]
    assert told.oid == hub.commits(REPO)[0][0] == api.model_info(REPO).sha
    attributes = hub.files(REPO).pop(".gitattributes")
    assert hub.files(REPO) == {**FILES, ".gitattributes": attributes}
    large = {name for name in FILES if name.endswith(".safetensors")}
    assert digests(api) == {".gitattributes": git_sha1(attributes)} | {
        name: hashlib.sha256(content).hexdigest() if name in large else git_sha1(content)
        for name, content in FILES.items()
    }
    assert any(line.startswith("PUT") for line in hub.requests) == (mode == "classic")
    fetched = api.snapshot_download(REPO, cache_dir=tmp_path / "cache")
    assert read(fetched) == hub.files(REPO)
    assert Path(fetched).name == told.oid


def test_a_second_upload_sends_no_file_and_makes_no_commit(
    hub: Hub, api: HfApi, mode: str, folder: Path
) -> None:
    api.create_repo(REPO)
    first = api.upload_folder(repo_id=REPO, folder_path=folder)
    hub.requests.clear()
    assert api.upload_folder(repo_id=REPO, folder_path=folder).oid == first.oid
    assert [line for line in hub.requests if "PUT" in line or "/commit/" in line] == []


def test_what_matches_delete_patterns_goes_with_the_same_commit(
    hub: Hub, api: HfApi, mode: str, folder: Path
) -> None:
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_bytes(b"{}")
    api.upload_folder(repo_id=REPO, folder_path=folder, delete_patterns="*")
    wanted = {name: FILES[name] for name in FILES if name != "model.safetensors"}
    assert hub.files(REPO).keys() == {*wanted, ".gitattributes"}
    assert hub.files(REPO)["config.json"] == b"{}"
    assert len(hub.commits(REPO)) == 3


def test_a_pull_request_has_its_own_revision(hub: Hub, api: HfApi, mode: str, folder: Path) -> None:
    api.create_repo(REPO)
    told = api.upload_folder(
        repo_id=REPO, folder_path=folder, commit_message="Add a model", create_pr=True
    )
    assert (told.pr_num, told.pr_revision) == (1, "refs/pr/1")
    (opened,) = api.get_repo_discussions(REPO, discussion_type="pull_request")
    status = {"classic": "open", "pipelined": "draft"}[mode]  # drafts are opened before commits
    assert (opened.num, opened.title, opened.status) == (1, "Add a model", status)
    assert [one.ref for one in hub.pull_requests(REPO)] == ["refs/pr/1"]
    assert list(hub.files(REPO)) == [".gitattributes"]
    assert hub.files(REPO, "refs/pr/1").keys() == {*FILES, ".gitattributes"}

    write(folder, {"config.json": b"{}"})
    api.upload_folder(repo_id=REPO, folder_path=folder, revision="refs/pr/1")
    assert hub.files(REPO, "refs/pr/1")["config.json"] == b"{}"
    assert api.model_info(REPO, revision="refs/pr/1").sha == hub.commits(REPO, "refs/pr/1")[0][0]
    assert len(hub.pull_requests(REPO)) == 1

    api.change_discussion_status(REPO, 1, "open")
    api.merge_pull_request(REPO, 1)
    assert hub.files(REPO)["config.json"] == b"{}"
    merged = api.get_discussion_details(REPO, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", hub.commits(REPO)[0][0])
    assert list(api.get_repo_discussions(REPO, discussion_status="open")) == []


def test_discussions_are_not_pull_requests(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    api.create_discussion(REPO, "Why?")
    api.comment_discussion(REPO, 1, "Because.")
    assert hub.pull_requests(REPO) == []
    assert [one.num for one in api.get_repo_discussions(REPO, discussion_type="discussion")] == [1]
    told = api.get_discussion_details(REPO, 1)
    assert told.git_reference is None and len(told.events) == 2


def test_branches_and_tags_are_names_of_commits(hub: Hub, api: HfApi) -> None:
    first = hub.commit(REPO, {"a.txt": b"1"})
    second = hub.commit(REPO, {"a.txt": b"2"})
    api.create_tag(REPO, tag="v1/final", revision=first)
    api.create_branch(REPO, branch="old", revision=first)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1/final", revision=second)
    api.create_tag(REPO, tag="v1/final", exist_ok=True)
    api.create_branch(REPO, branch="old", exist_ok=True)
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "old": first}
    assert [(ref.name, ref.ref) for ref in refs.tags] == [("v1/final", "refs/tags/v1/final")]
    assert api.model_info(REPO, revision="v1/final").sha == first
    assert [step.commit_id for step in api.list_repo_commits(REPO)] == [second, first]
    api.delete_tag(REPO, tag="v1/final")
    api.delete_branch(REPO, branch="old")
    assert hub.tags(REPO) == {} and hub.commits(REPO, "old") == []
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v1/final")


def test_a_data_set_has_its_own_addresses_and_converted_files(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    hub.commit("datasets/acme/words", {"README.md": b"# Words"})
    parquet = {"default/train/0.parquet": WEIGHTS, "default/test/0.parquet": b"PAR1", "top": b""}
    commit = hub.commit("datasets/acme/words", parquet, branch="refs/convert/parquet")
    refs = api.list_repo_refs("acme/words", repo_type="dataset")
    assert [(ref.ref, ref.target_commit) for ref in refs.converts] == [
        ("refs/convert/parquet", commit)
    ]
    where = {"repo_type": "dataset", "revision": "refs/convert/parquet"}

    def listed(path: str = "", recursive: bool = False) -> list[str]:
        rows = api.list_repo_tree("acme/words", path, recursive=recursive, **where)
        return [row.path for row in rows]

    assert listed() == ["default", "top"]
    assert listed("default") == ["default/test", "default/train"]
    assert listed("default", recursive=True)[-1] == "default/train/0.parquet"
    with pytest.raises(EntryNotFoundError):
        listed("absent")
    asked = ["default/train/0.parquet", "default", "absent"]
    rows = api.get_paths_info("acme/words", asked, expand=True, **where)
    assert [row.path for row in rows] == ["default", "default/train/0.parquet"]
    assert rows[0].last_commit is not None and rows[0].last_commit.oid == commit
    assert api.dataset_info("acme/words", revision=where["revision"]).sha == commit
    path = api.hf_hub_download("acme/words", asked[0], cache_dir=tmp_path, **where)
    assert Path(path).read_bytes() == WEIGHTS
    api.create_repo("acme/others", repo_type="dataset")
    assert "datasets/acme/others" in hub.repositories


def test_a_list_comes_in_pages(hub: Hub, api: HfApi) -> None:
    hub.commit(REPO, {f"{number}.txt": b"" for number in range(5)})
    hub.page = 2
    assert len(digests(api)) == 5
    assert hub.requests.count(f"GET /api/models/{REPO}/tree/main") == 3


def test_parts_of_a_file_are_given(hub: Hub, api: HfApi) -> None:
    hub.commit(REPO, {"a.txt": b"0123456789"})

    def part(asked: str) -> tuple[int, bytes, str | None]:
        url = f"{hub.endpoint}/{REPO}/resolve/main/a.txt"
        told = get_session().get(url, headers={"Range": asked})
        return told.status_code, told.content, told.headers.get("Content-Range")

    assert part("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert part("bytes=8-") == (206, b"89", "bytes 8-9/10")
    assert part("bytes=-3") == (206, b"789", "bytes 7-9/10")
    assert part("bytes=5-99") == (206, b"56789", "bytes 5-9/10")
    assert part("bytes=10-") == (416, part("bytes=10-")[1], "bytes */10")
    assert hub.sent == [("a.txt", 2, 3), ("a.txt", 8, 2), ("a.txt", 7, 3), ("a.txt", 5, 5)]


@pytest.mark.parametrize("redirects", [True, False])
def test_a_large_file_comes_from_another_host_which_never_sees_the_token(
    hub: Hub, api: HfApi, tmp_path: Path, redirects: bool
) -> None:
    hub.redirects = redirects
    hub.commit(REPO, {"model.safetensors": WEIGHTS, "a.txt": b"a"})
    hub.repositories[REPO].private = True
    url = f"{hub.endpoint}/{REPO}/resolve/main/model.safetensors"
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    told = get_session().head(url, headers=with_token, follow_redirects=False)
    assert told.status_code == (302 if redirects else 200)
    assert told.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert get_session().get(hub.storage + f"/{REPO}/resolve/main/a.txt").status_code == 401
    path = api.hf_hub_download(REPO, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.downloads() == ["model.safetensors"]
    assert hub.sent == [("model.safetensors", 0, len(WEIGHTS))]
    if redirects:
        assert get_session().get(told.headers["Location"], headers=with_token).status_code == 400
        assert get_session().get(told.headers["Location"][:-1]).status_code == 403


def test_a_large_file_may_be_put_in_parts(hub: Hub, api: HfApi) -> None:
    hub.part_bytes = 20_000
    api.create_repo(REPO)
    api.upload_file(repo_id=REPO, path_in_repo="a.bin", path_or_fileobj=WEIGHTS)
    puts = [line for line in hub.requests if line.startswith("PUT")]
    assert [line.rsplit("/", 1)[1] for line in puts] == ["1", "2", "3"]
    assert [hub.received[line] for line in puts] == [20_000, 20_000, len(WEIGHTS) - 40_000]
    assert hub.files(REPO)["a.bin"] == WEIGHTS


def test_an_object_is_what_was_announced_and_is_put_before_it_is_committed(
    hub: Hub, api: HfApi
) -> None:
    api.create_repo(REPO)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    wanted = {"oid": digest, "size": len(WEIGHTS)}
    asked = {"operation": "upload", "transfers": ["basic"], "objects": [wanted]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    batch = f"{hub.endpoint}/{REPO}.git/info/lfs/objects/batch"
    get_session().post(batch, json=asked, headers=headers)
    url = hub.storage + signed(f"/{REPO}/lfs/{digest}")
    assert get_session().put(url, content=WEIGHTS[:-1] + b"?").status_code == 400
    assert get_session().put(url, content=WEIGHTS[:-1]).status_code == 400

    header = {"key": "header", "value": {"summary": "Add"}}
    line = {"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", **wanted}}
    body = json.dumps(header) + "\n" + json.dumps(line)
    commit = f"{hub.endpoint}/api/models/{REPO}/commit/main"
    told = get_session().post(commit, content=body, headers=headers)
    assert told.status_code == 400 and "a file that does not exist" in told.text
    chunks = (WEIGHTS[start : start + 1000] for start in range(0, len(WEIGHTS), 1000))
    assert get_session().put(url, content=chunks, headers={"Expect": "100-continue"}).is_success
    assert get_session().post(commit, content=body, headers=headers).is_success
    assert hub.files(REPO)["a.bin"] == WEIGHTS
    told = get_session().post(batch, json=asked, headers=headers).json()
    assert told["objects"] == [wanted]  # nothing to do


def test_a_commit_on_a_branch_that_moved_is_refused(hub: Hub, api: HfApi) -> None:
    parent = hub.commit(REPO, {"a.txt": b"1"})
    hub.commit(REPO, {"a.txt": b"2"})
    operations = [CommitOperationAdd("b.txt", b"b")]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(REPO, operations, commit_message="Late", parent_commit=parent)
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(REPO, operations, commit_message="Lost", revision="absent")
    with pytest.raises(EntryNotFoundError):
        gone = [CommitOperationDelete("absent.txt")]
        api.create_commit(REPO, gone, commit_message="Delete")
    assert hub.files(REPO) == {"a.txt": b"2"}


def test_a_private_repository_is_for_its_owner(hub: Hub, api: HfApi) -> None:
    hub.commit(REPO, {"a.txt": b"1"})
    hub.commit("other/demo", {"a.txt": b"1"})
    hub.repositories[REPO].private = hub.repositories["other/demo"].private = True
    assert api.whoami()["name"] == "acme"
    assert api.model_info(REPO).private
    for repo, token in ((REPO, False), ("other/demo", TOKEN), ("acme/absent", TOKEN)):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info(repo, token=token)
    for call in (api.model_info, lambda repo, token: api.create_repo(repo, token=token)):
        with pytest.raises(HfHubHTTPError, match="401"):
            call(REPO, token="hf_wrong")


def test_a_gate_is_for_files_not_for_facts(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    hub.commit(REPO, {"a.txt": b"1"})
    hub.repositories[REPO].gated = True
    assert api.model_info(REPO).gated == "manual"
    for token in (False, TOKEN):
        with pytest.raises(GatedRepoError):
            api.hf_hub_download(REPO, "a.txt", token=token, cache_dir=tmp_path)
    hub.repositories[REPO].granted = True
    assert Path(api.hf_hub_download(REPO, "a.txt", cache_dir=tmp_path)).read_bytes() == b"1"


def test_who_may_not_write_may_propose(hub: Hub, api: HfApi, mode: str, folder: Path) -> None:
    hub.commit(REPO, {"a.txt": b"1"})
    hub.repositories[REPO].readonly = True
    with pytest.raises(HfHubHTTPError, match="403 Forbidden: Forbidden: pass `create_pr=1`"):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    with pytest.raises(HfHubHTTPError, match="You don't have the rights to create a model"):
        api.create_repo("other/demo")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    api.create_repo(REPO, exist_ok=True)
    api.upload_folder(repo_id=REPO, folder_path=folder, create_pr=True)
    assert hub.files(REPO) == {"a.txt": b"1"}
    assert hub.files(REPO, "refs/pr/1") == {"a.txt": b"1", **FILES}
    with pytest.raises(RepositoryNotFoundError):
        api.create_commit(
            REPO, [CommitOperationAdd("b.txt", b"b")], commit_message="b", token=False
        )


def test_many_clients_at_once_lose_no_commit(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)

    def add(number: int) -> str:
        content = bytes([number]) * (LFS_FROM + number)
        operations = [CommitOperationAdd(f"{number}.bin", content)]
        return api.create_commit(REPO, operations, commit_message=f"{number}").oid

    with ThreadPoolExecutor(8) as pool:
        commits = set(pool.map(add, range(16)))
    assert {commit for commit, _ in hub.commits(REPO)[:-1]} == commits
    assert len(hub.files(REPO)) == 17


def test_a_card_whose_facts_have_no_end_is_refused(hub: Hub, api: HfApi) -> None:
    api.create_repo(REPO)
    with pytest.raises(ValueError, match="the metadata has no end"):
        api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=b"---\na: 1\n")
    api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=b"---\na: 1\n---\n")
