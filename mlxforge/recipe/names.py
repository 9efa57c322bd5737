"""Which names recipes and Hub repositories can have."""

from __future__ import annotations

import re

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.words import quoted

__all__ = ["RESERVED_NAMES", "check_name", "check_repo"]

_COMMANDS = """
build list show plan verify gc lock report upload new
run help info clean forget ignore dumpdb strace tabcompletion reset-dep auto
"""

RESERVED_NAMES = frozenset(_COMMANDS.split())
"""Words of mlxforge and of doit: ``doit gc`` must not be a recipe."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LONGEST_NAME = 200
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_HUB_ADDRESS = re.compile(r"(?:https?://)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([^/]+/[^/]+).*")


def check_name(name: str, at: Position) -> None:
    """A recipe's name is a file name and a word of the command line; refuse what is not both."""
    if name in RESERVED_NAMES:
        message = f"a recipe cannot be called {quoted(name)}: that is a command"
        raise ForgeError(message, f"such as {name}-1", at)
    if not _NAME.fullmatch(name):
        hint = "a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"
        raise ForgeError(f"{quoted(name)} is not a recipe's name", hint, at)
    if len(name) > _LONGEST_NAME:
        raise ForgeError(f"the name {quoted(name)} is too long", f"at most {_LONGEST_NAME}", at)


def check_repo(repo: str, key: str, at: Position, *, owner: bool = True) -> None:
    """Refuse what the Hub would refuse; without ``owner`` a bare name will do, as of old."""
    parts = repo.split("/")
    counts = (2,) if owner else (1, 2)
    odd = any(odd in repo for odd in ("--", "..")) or repo.endswith(".git")
    if len(parts) in counts and not odd and all(_REPO_PART.fullmatch(part) for part in parts):
        return
    address = _HUB_ADDRESS.fullmatch(repo)
    hint = f"did you mean {quoted(address[1])}?" if address else "owner/name, as on the Hub"
    raise ForgeError(f"{key} is {quoted(repo)}, not a repository", hint, at)
