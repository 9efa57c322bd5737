"""What a data set, a configuration and a split mean on the Hub now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import RevisionNotFoundError

from mlxforge.errors import ForgeError
from mlxforge.hub.client import fetch_file
from mlxforge.hub.datasets.front_matter import MOST_BYTES, front_matter
from mlxforge.hub.datasets.layout import (
    Layout,
    card_layout,
    choose,
    converted_layout,
    name_layout,
)
from mlxforge.hub.failures import told
from mlxforge.hub.tree import list_files

__all__ = ["Branch", "FoundText", "look", "resolve_text"]

MAIN = "main"
CONVERTED = "refs/convert/parquet"
"""The branch onto which the Hub converts data sets that are not parquet themselves."""


@dataclass(frozen=True)
class Branch:
    """A branch of a data set as it is now. ``files``: path -> size and digest."""

    commit: str
    files: Mapping[str, Mapping[str, Any]]
    layout: Layout


@dataclass(frozen=True)
class FoundText:
    """The parquet files of one split at one commit."""

    config: str
    split: str
    revision: str
    commit: str
    files: Mapping[str, Mapping[str, Any]]


def look(dataset: str, revision: str) -> Branch:
    """What a branch of a data set holds, from its listing and its card alone; nothing where
    there is no conversion. Raises ForgeError."""
    try:
        commit = HfApi().dataset_info(dataset, revision=revision).sha or ""
        files = list_files(dataset, commit, "dataset", nested=True)
    except Exception as error:
        if revision == CONVERTED and isinstance(error, RevisionNotFoundError):
            return Branch("", {}, Layout({}))
        raise told(error, dataset, revision, kind="dataset") from error
    if revision == CONVERTED:
        return Branch(commit, files, converted_layout(files))
    layout = _card_layout(dataset, commit, files)
    return Branch(commit, files, layout if layout.configs else name_layout(files))


def resolve_text(
    dataset: str,
    config: str | None,
    split: str | None,
    look: Callable[[str, str], Branch] = look,
) -> FoundText:
    """The split's parquet files on the main branch, or else in the Hub's conversion.

    ``look`` may remember what it found. Raises ForgeError where there is no such data set,
    configuration, split or parquet, or not for us.
    """
    for revision in (MAIN, CONVERTED):
        branch = look(dataset, revision)
        if not branch.layout.configs:
            continue
        config, split = choose(dataset, branch.layout, config, split)
        if names := branch.layout.configs[config][split]:
            _check_access(dataset, branch.commit, names[0])
            files = {name: branch.files[name] for name in names}
            return FoundText(config, split, revision, branch.commit, files)
    which = f" for {config}, {split}" if config and split else ""
    raise ForgeError(
        f"the data set {dataset} has no parquet files{which}, and the Hub has converted none",
        "use another data set, or {path: …} with a plain text file",
    )


def _card_layout(dataset: str, commit: str, files: Mapping[str, Mapping[str, Any]]) -> Layout:
    fact = files.get("README.md")
    if fact is None:
        return Layout({})
    try:
        if fact["size"] > MOST_BYTES:
            raise ValueError(f"it has {fact['size']:,} bytes")
        card = fetch_file(dataset, commit, "README.md", fact, "dataset").read_bytes()
        return card_layout(front_matter(card), files)
    except ValueError as error:
        raise ForgeError(f"the card of the data set {dataset} cannot be used: {error}") from None


def _check_access(dataset: str, commit: str, name: str) -> None:
    """Anybody may list a gated data set; only this tells whether we may read it."""
    try:
        url = hf_hub_url(dataset, name, repo_type="dataset", revision=commit)
        get_hf_file_metadata(url)
    except Exception as error:
        raise told(error, dataset, commit, kind="dataset") from error
