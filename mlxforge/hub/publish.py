"""Sending a folder to a model repository, and proving that it came through.

What the repository has already is compared by digest and not sent. Afterwards its tree is listed
again: the client has told of uploads as finished that the Hub kept other bytes of
(huggingface_hub#3643). Whatever breaks off goes on at the next call: files that were received
are there.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from mlxforge.errors import ForgeError
from mlxforge.hub.failures import told
from mlxforge.hub.pull_requests import (
    find_pull_request,
    open_pull_request,
    show_pull_request,
)
from mlxforge.hub.tree import list_files
from mlxforge.hub.verify import difference
from mlxforge.models.source.files import is_model_file
from mlxforge.store.hashes import sha256_of

__all__ = ["Changes", "Message", "Receipt", "Target", "changes", "publish", "published"]

TRIES = 3  # of what the client itself tries only once

Sha256 = Callable[[Path], str]


@dataclass(frozen=True)
class Target:
    repo: str
    private: bool
    branch: str
    pull_request: bool


@dataclass(frozen=True)
class Message:
    """``title`` also finds the pull request again; ``tag`` is put on the commit."""

    title: str
    description: str
    tag: str


@dataclass(frozen=True)
class Changes:
    """Names of files: to be sent, and to be removed."""

    send: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True)
class Receipt:
    """``revision`` is the branch, or ``refs/pr/N``; ``tag`` None in a pull request. ``draft``: the
    Hub did not let us open the pull request that it made."""

    commit: str
    revision: str
    url: str
    tag: str | None
    sent: tuple[str, ...]
    removed: tuple[str, ...]
    sent_bytes: int
    draft: bool


def published(target: Target) -> dict[str, dict[str, Any]]:
    """The files on the target's branch; none where repository or branch do not exist yet.

    Raises ForgeError where nothing may be sent there.
    """
    try:
        _check_private(target, HfApi().model_info(target.repo))
        return _listed(target.repo, target.branch)[1]
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return {}
    except ForgeError:
        raise
    except Exception as error:
        raise told(error, target.repo, target.branch, writing=True) from error


def changes(folder: Path, remote: Mapping[str, Mapping[str, Any]], sha256: Sha256) -> Changes:
    """What would make ``remote`` equal to ``folder``: whatever a loader would take for a part of
    the model goes, if it is not; all else that lies there is not ours."""
    names = sorted(path.name for path in folder.iterdir())
    same = {n for n in names if n in remote and not difference(folder / n, remote[n], sha256)}
    stray = (n for n in sorted(remote.keys() - set(names)) if is_model_file(n))
    return Changes(tuple(n for n in names if n not in same), tuple(stray))


def publish(folder: Path, target: Target, message: Message, sha256: Sha256) -> Receipt:
    """Make the target's branch, or a pull request to it, hold the files of ``folder``.

    Sends nothing that is there. Tries again where the Hub or the network fails for a moment.
    Raises ForgeError where it cannot be done, and where the Hub keeps other bytes than were sent.
    """
    sent: list[Changes] = []
    tries = 0
    while True:
        tries += 1
        try:
            return _publish(folder, target, message, sha256, sent)
        except ForgeError:
            raise
        except Exception as error:
            if tries >= TRIES or not _passes(error):
                raise told(error, target.repo, target.branch, writing=True) from error
            time.sleep(2.0**tries)


def _passes(error: BaseException) -> bool:
    """Whether another try may do better; sending a file, the client has tried often enough."""
    if isinstance(error, HfHubHTTPError):
        # 412 and 409: somebody else's commit came first
        return error.response.status_code in (409, 412, 429) or error.response.status_code >= 500
    return isinstance(error, HTTPError)


def _publish(
    folder: Path, target: Target, message: Message, sha256: Sha256, sent: list[Changes]
) -> Receipt:
    """One try; ``sent`` gets what it sends, so that a later one, which may find it all there
    because only the answer was lost, can tell."""
    api = HfApi()
    url = str(_repository(api, target))
    head, remote = _listed(target.repo, target.branch)
    needed = changes(folder, remote, sha256)
    revision = target.branch
    if (needed.send or needed.remove) and target.pull_request:
        revision = find_pull_request(api, target.repo, message.title) or open_pull_request(
            api, target.repo, message.title, message.description
        )
        url = f"{url}/discussions/{revision.rsplit('/', 1)[1]}"
        head, remote = _listed(target.repo, revision)
        needed = changes(folder, remote, sha256)
    if needed.send or needed.remove:
        sent.append(needed)
        _check_intact(folder, needed.send, sha256)
        head = api.upload_folder(
            repo_id=target.repo,
            folder_path=folder,
            revision=revision,
            parent_commit=head,
            commit_message=message.title,
            commit_description=message.description,
            allow_patterns=[glob.escape(name) for name in needed.send] or [""],
            delete_patterns=[glob.escape(name) for name in needed.remove] or None,
        ).oid
        _check(folder, target.repo, head, sha256)
    tag, draft = None, False
    if revision != target.branch:
        draft = not show_pull_request(api, target.repo, revision)
    elif _put_tag(api, target, message.tag, head):
        tag = message.tag
    first = sent[0] if sent else needed
    size = sum((folder / name).stat().st_size for name in first.send)
    return Receipt(head, revision, url, tag, first.send, first.remove, size, draft)


def _repository(api: HfApi, target: Target) -> str:
    """Its address, made first where it is not there; and the branch."""
    try:
        info = api.model_info(target.repo)
    except RepositoryNotFoundError:
        api.create_repo(target.repo, private=target.private, exist_ok=True)
        info = api.model_info(target.repo)
    _check_private(target, info)
    if target.branch != "main":
        api.create_branch(target.repo, branch=target.branch, exist_ok=True)
    return f"{api.endpoint}/{target.repo}"


def _check_private(target: Target, info: ModelInfo) -> None:
    if target.private and not info.private:
        raise ForgeError(
            f"{target.repo} is public, and the recipe says `private: true`",
            "make the repository private in its settings, or write `private: false`",
        )


def _put_tag(api: HfApi, target: Target, tag: str, commit: str) -> bool:
    """Let ``tag`` point to ``commit``, wherever it did before. False for somebody whose pull
    requests others merge and tag."""
    there = {entry.name: entry.target_commit for entry in api.list_repo_refs(target.repo).tags}
    if there.get(tag) == commit:
        return True
    try:
        if tag in there:
            api.delete_tag(target.repo, tag=tag)
        api.create_tag(target.repo, tag=tag, revision=commit)
    except HfHubHTTPError as error:
        if target.pull_request and error.response.status_code in (401, 403):
            return False
        raise
    return True


def _listed(repo: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The commit that ``revision`` means now, and its files."""
    commit = HfApi().model_info(repo, revision=revision).sha or ""
    return commit, list_files(repo, commit, nested=True)


def _check_intact(folder: Path, names: Iterable[str], sha256: Sha256) -> None:
    """Raises ForgeError where a file is not what was built, before anybody gets it."""
    for name in names:
        if sha256_of(folder / name) != sha256(folder / name):
            raise ForgeError(
                f"{name} is not what was built: the store is damaged",
                "`doit verify NAME` says what to do",
            )


def _check(folder: Path, repo: str, commit: str, sha256: Sha256) -> None:
    """Raises ForgeError where the Hub does not have at ``commit`` what lies in ``folder``."""
    left = changes(folder, list_files(repo, commit, nested=True), sha256)
    if not left.send and not left.remove:
        return
    wrong = [*left.send, *left.remove]
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise ForgeError(
        f"{repo} at {commit[:12]} does not have the files that were sent: {wrong[0]}{more}",
        "upload again; do not use that commit",
    )
