"""Names of files in a repository."""

from __future__ import annotations

__all__ = ["is_file_name", "is_file_path"]


def is_file_name(name: str) -> bool:
    """Whether ``name`` stays in the folder that it is put into and can be shown on a line."""
    return name.isprintable() and name not in ("", ".", "..") and not {*"/\\"} & {*name}


def is_file_path(name: str) -> bool:
    """The same for a file that may lie in folders: ``data/train-00000-of-00001.parquet``."""
    return all(is_file_name(part) for part in name.split("/"))
