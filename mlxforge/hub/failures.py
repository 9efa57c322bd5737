"""What went wrong on the Hub, in words."""

from __future__ import annotations

import re

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
from mlxforge.recipe.words import printable
from mlxforge.store.store import disk_error

__all__ = ["Unreachable", "told"]


class Unreachable(ForgeError):
    """The Hub was not asked, or did not answer."""


def told(
    error: BaseException, repo: str, revision: str, writing: bool = False, kind: str = "model"
) -> ForgeError:
    """The client's ``error`` as the user should read it; never with a token or a header.

    ``writing``: while something was published, not fetched. ``kind``: "model" or "dataset".
    """
    again = "upload again" if writing else "build again"
    what, page = ("data set", f"datasets/{repo}") if kind == "dataset" else ("repository", repo)
    error = _cause(error)
    match error:
        case ForgeError():
            return error
        case GatedRepoError():
            return ForgeError(
                f"{repo} is gated, and you have no access",
                f"accept its terms at {constants.ENDPOINT}/{page}, then run `hf auth login` or "
                "set HF_TOKEN",
            )
        case RepositoryNotFoundError():
            return ForgeError(
                f"the Hub has no {what} {repo}, or it is private",
                "check the name; for a private one run `hf auth login` or set HF_TOKEN",
            )
        case RevisionNotFoundError():
            return ForgeError(f"{repo} has no revision {revision!r}", "a branch, tag or commit")
        case DisabledRepoError():
            return ForgeError(f"the Hub has disabled {repo}")
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            return Unreachable(
                f"{repo} is not in the cache, and the Hub is not asked: offline mode is on",
                "unset HF_HUB_OFFLINE to download it",
            )
        case HfHubHTTPError():
            return _refused(error, repo, writing)
        case HTTPError():
            return Unreachable(
                f"the Hub at {constants.ENDPOINT} cannot be reached for {repo}: {_short(error)}",
                f"check the network; finished files are kept, {again} to go on",
            )
        case OSError() if error.errno:
            return disk_error(error)
    return ForgeError(
        f"the Hub's answer for {repo} cannot be used: {_short(error)}",
        f"finished files are kept, {again} to go on",
    )


def _cause(error: BaseException) -> BaseException:
    """What happened, where the client tells what it was doing at the time."""
    while isinstance(error, LocalEntryNotFoundError | RuntimeError) and error.__cause__:
        error = error.__cause__
    return error


def _refused(error: HfHubHTTPError, repo: str, writing: bool) -> ForgeError:
    status = error.response.status_code
    said = printable(" ".join((error.server_message or "").split()))[:200]
    why = f"status {status}: {said}" if said else f"status {status}"
    if status in (401, 403) and writing:
        return ForgeError(
            f"the Hub does not let you write to {repo} ({why})",
            "run `hf auth login` with a token that may, or set HF_TOKEN to one",
        )
    if status in (401, 403):
        return ForgeError(
            f"the Hub refuses your token for {repo} ({why})",
            "run `hf auth login`, or correct HF_TOKEN",
        )
    passes = status in (408, 429) or status >= 500
    told = f"the Hub answered {repo} with {why}"
    return ForgeError(told, "try again later" if passes else None)


def _short(error: BaseException) -> str:
    """The first line, without what may be secret: the rest of an address after its ``?``."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\?[^\s'\"]*", "", lines[0])[:200]
