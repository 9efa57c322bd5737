"""What went wrong on the Hub, in words."""

from __future__ import annotations

from httpx2 import HTTPError
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mlxforge.errors import ForgeError
from mlxforge.store.store import disk_error

__all__ = ["told"]


def told(error: BaseException, repo: str, revision: str) -> ForgeError:
    """The client's ``error`` as the user should read it; never with a token or a header."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # the client's last word is its cache; why it looked there counts
    match error:
        case GatedRepoError():
            return ForgeError(
                f"{repo} is gated, and you have no access",
                f"accept its terms at {constants.ENDPOINT}/{repo}, then run `hf auth login` or "
                "set HF_TOKEN",
            )
        case RepositoryNotFoundError():
            return ForgeError(
                f"the Hub has no repository {repo}, or it is private",
                "check the name; for a private one run `hf auth login` or set HF_TOKEN",
            )
        case RevisionNotFoundError():
            return ForgeError(f"{repo} has no revision {revision!r}", "a branch, tag or commit")
        case DisabledRepoError():
            return ForgeError(f"the Hub has disabled {repo}")
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            return ForgeError(
                f"{repo} is not in the cache, and the Hub is not asked: offline mode is on",
                "unset HF_HUB_OFFLINE to download it",
            )
        case HfHubHTTPError():
            return _refused(error.response.status_code, repo)
        case HTTPError():
            return ForgeError(
                f"the Hub at {constants.ENDPOINT} cannot be reached for {repo}: {_short(error)}",
                "check the network; finished files are kept, build again to go on",
            )
        case OSError() if error.errno:
            return disk_error(error)
    return ForgeError(
        f"the Hub's answer for {repo} cannot be used: {_short(error)}",
        "finished files are kept, build again to go on",
    )


def _refused(status: int, repo: str) -> ForgeError:
    if status in (401, 403):
        return ForgeError(
            f"the Hub refuses your token for {repo} (status {status})",
            "run `hf auth login`, or correct HF_TOKEN",
        )
    return ForgeError(f"the Hub answered {repo} with status {status}", "try again later")


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
