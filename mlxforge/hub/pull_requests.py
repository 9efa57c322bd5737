"""Our own pull requests on the Hub, found again by their title."""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

__all__ = ["find_pull_request", "open_pull_request", "show_pull_request"]


def find_pull_request(api: HfApi, repo: str, title: str) -> str | None:
    """The ref of our open pull request of that title, so that none is opened twice; anybody may
    have opened others that are called the same."""
    author = api.whoami()["name"]
    for entry in api.get_repo_discussions(repo, discussion_type="pull_request"):
        mine = entry.title == title and entry.author == author
        if mine and entry.status in ("draft", "open"):
            return f"refs/pr/{entry.num}"
    return None


def open_pull_request(api: HfApi, repo: str, title: str, description: str) -> str:
    """The ref of a new one, to commit to. It is a draft until it is shown."""
    made = api.create_pull_request(repo, title, description=description)
    return made.git_reference or f"refs/pr/{made.num}"


def show_pull_request(api: HfApi, repo: str, revision: str) -> bool:
    """Let a draft be seen and merged; False where the Hub does not let its author do that."""
    number = int(revision.rsplit("/", 1)[1])
    if api.get_discussion_details(repo, number).status == "draft":
        try:
            api.change_discussion_status(repo, number, "open")
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            return False
    return True
