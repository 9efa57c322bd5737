"""Who may do what, and how the Hub says no."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.hub.server.messages import Refusal, Request
from tests.hub.server.repository import Commit, Repository

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = [
    "NAMESPACES",
    "TOKEN",
    "USER",
    "check_signed",
    "check_token",
    "commit_at",
    "signed",
    "to_propose",
    "to_read",
    "to_write",
    "user",
]

TOKEN = "hf_tokenOfTheTestsAndOfNobodyElse"
USER = "acme"
NAMESPACES = (USER, "acme-lab")  # the user's own, and an organization


def check_token(request: Request) -> None:
    if request.token not in (None, f"Bearer {TOKEN}"):
        raise Refusal(401, "", "Invalid credentials in Authorization header")


def user(request: Request) -> str:
    """Whoever asks, who must have a token."""
    if request.token is None:
        raise Refusal(401, "", "Invalid username or password.")
    return USER


def to_read(hub: Hub, request: Request, repo: str) -> Repository:
    """The repository; like the Hub, this does not tell a private one from none."""
    made = hub.repositories.get(repo)
    if made is None or (made.private and not (request.token and is_ours(repo))):
        if request.token is None:
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        raise Refusal(404, "RepoNotFound", "Repository not found")
    return made


def to_propose(hub: Hub, request: Request, repo: str) -> Repository:
    """Pull requests are open to every reader who has a token."""
    made = to_read(hub, request, repo)
    if request.token is None:  # over https the client takes any 401 of a repository for this code
        raise Refusal(401, "RepoNotFound", "Invalid username or password.")
    return made


def to_write(hub: Hub, request: Request, repo: str) -> Repository:
    made = to_propose(hub, request, repo)
    if made.readonly or not is_ours(repo):
        told = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request."
        raise Refusal(403, "", told)
    return made


def commit_at(made: Repository, revision: str) -> Commit:
    commit = made.at(revision)
    if commit is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def is_ours(repo: str) -> bool:
    return repo.removeprefix("datasets/").split("/")[0] in NAMESPACES


def signed(path: str) -> str:
    """An address that lets anybody in who knows it, as those of storage servers do."""
    return f"{path}?signature={hashlib.sha256(TOKEN.encode() + path.encode()).hexdigest()[:16]}"


def check_signed(request: Request) -> None:
    if request.token:
        raise Refusal(400, "", "Only one auth mechanism allowed")
    if signed(request.path) != f"{request.path}?signature={request.asked('signature')}":
        raise Refusal(403, "", "SignatureDoesNotMatch")
