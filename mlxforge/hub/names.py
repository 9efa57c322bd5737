"""Names of files in a repository."""

from __future__ import annotations

__all__ = ["is_file_name"]


def is_file_name(name: str) -> bool:
    """Whether ``name`` stays in the folder that it is put into and can be shown on a line."""
    return name.isprintable() and name not in ("", ".", "..") and not {*"/\\"} & {*name}
