"""Which files of a data set are which split of which configuration.

The Hub's rules (https://huggingface.co/docs/hub/datasets-manual-configuration and
datasets-file-names-and-splits): the card says it under ``configs``, or the names do. Only parquet
counts here. Where it lies in folders of other names than those of splits, the folders name
configurations: ``CONFIG/SPLIT-00000-of-00001.parquet``, ``CONFIG/SPLIT/0000.parquet``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.hub.datasets.patterns import PatternFinder
from mlxforge.hub.names import is_file_path
from mlxforge.recipe.words import choice, quoted

__all__ = ["Layout", "card_layout", "choose", "converted_layout", "name_layout"]

DEFAULT = "default"
KEYWORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*")
FEW = 20  # names in a message
MOST_ENTRIES = 10_000

Splits = dict[str, list[str]]


@dataclass(frozen=True)
class Layout:
    """``configs``: configuration -> split -> its parquet files, sorted; none where the files of
    the split are of another kind. ``default`` is the configuration that the card prefers."""

    configs: Mapping[str, Mapping[str, Sequence[str]]]
    default: str | None = None


def card_layout(card: Mapping[str, Any], paths: Iterable[str]) -> Layout:
    """As the card's front matter has it; empty where it says nothing of files.

    Raises ValueError with the reason where it is more than anybody would write.
    """
    finder = PatternFinder(_parquet(paths))
    configs: dict[str, Splits] = {}
    default = None
    listed = card.get("configs")
    entries = listed if isinstance(listed, list) else []
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"it holds more than {MOST_ENTRIES:,} configurations")
    left = MOST_ENTRIES
    for entry in entries:
        if not isinstance(entry, dict) or isinstance(entry.get("config_name"), (dict, list)):
            continue
        name = _name(entry.get("config_name"), DEFAULT)
        patterns = list(islice(_patterns(entry.get("data_files")), left + 1))
        left -= len(patterns)
        if left < 0:
            raise ValueError(f"it holds more than {MOST_ENTRIES:,} patterns")
        configs[name] = _splits(entry, patterns, finder)
        if entry.get("default") is True:
            default = name
    return Layout(configs, default)


def name_layout(paths: Iterable[str]) -> Layout:
    """As the names of the files have it."""
    configs: dict[str, Splits] = {}
    for path in _parquet(paths):
        config, split = _place(path)
        configs.setdefault(config, {}).setdefault(split, []).append(path)
    return Layout(configs)


def converted_layout(paths: Iterable[str]) -> Layout:
    """As the Hub's own conversion has it: ``CONFIG/SPLIT/0000.parquet``."""
    configs: dict[str, Splits] = {}
    for path in _parquet(paths):
        if path.count("/") == 2:
            config, split, _ = path.split("/")
            configs.setdefault(config, {}).setdefault(split, []).append(path)
    return Layout(configs)


def choose(dataset: str, layout: Layout, config: str | None, split: str | None) -> tuple[str, str]:
    """The configuration and split that are meant; ForgeError where there is none of that name,
    or several and none is named."""
    if config is None and len(layout.configs) > 1:
        known = (name for name in (layout.default, DEFAULT) if name in layout.configs)
        config = next(known, None)
    config = _one(f"the data set {dataset}", "config", config, list(layout.configs))
    where = f"{dataset} ({config})" if config != DEFAULT else f"the data set {dataset}"
    return config, _one(where, "split", split, list(layout.configs[config]))


def _one(where: str, what: str, wanted: str | None, known: list[str]) -> str:
    shown = ", ".join(known[:FEW]) + (f" and {len(known) - FEW} more" if known[FEW:] else "")
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        there = f"{what}: one of {shown}" if known else None
        raise ForgeError(f"which {what} of {where}? it has {len(known)}", there)
    if wanted not in known:
        near = choice(wanted, known) if len(known) <= FEW else f"it has {shown}"
        raise ForgeError(f"{where} has no {what} {quoted(wanted)}", near if known else None)
    return wanted


def _parquet(paths: Iterable[str]) -> list[str]:
    return sorted(path for path in paths if path.endswith(".parquet") and is_file_path(path))


def _name(value: Any, default: str) -> str:
    """Of a configuration or a split; null is left out."""
    return default if value is None else str(value)


def _splits(
    entry: Mapping[str, Any], patterns: Sequence[tuple[str, str]], finder: PatternFinder
) -> Splits:
    """The splits of a configuration in the card."""
    folder = str(entry.get("data_dir") or "").strip("/")
    if entry.get("data_files") is None:
        named: Splits = {}
        for path in finder.below(folder):
            named.setdefault(_place(path)[1], []).append(path)
        return named
    found: dict[str, set[str]] = {}
    for split, pattern in dict.fromkeys(patterns):
        whole = f"{folder}/{pattern}" if folder else pattern
        found.setdefault(split, set()).update(finder.matching(whole))
    return {split: sorted(files) for split, files in found.items()}


def _patterns(files: Any) -> Iterator[tuple[str, str]]:
    """Split and pattern for every form that ``data_files`` may have."""
    entries: list[Any] = files if isinstance(files, list) else [files]
    if isinstance(files, dict):
        entries = [{"split": split, "path": path} for split, path in files.items()]
    for entry in entries:
        split, paths = None, entry
        if isinstance(entry, dict):
            split, paths = entry.get("split"), entry.get("path")
        if isinstance(split, (dict, list)):
            continue
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                yield _name(split, "train"), path


def _place(path: str) -> tuple[str, str]:
    """Configuration and split of a parquet file, by its name."""
    *folders, name = path.split("/")
    stem = name.removesuffix(".parquet")
    shard = _SHARD.fullmatch(stem)
    around = _keyword(folders[-1]) if folders else None
    if shard and (around is None or _keyword(shard[1])):
        split = shard[1]
    elif around:
        split = around
        folders.pop()
    elif word := _keyword(stem):
        split = word
    elif folders and stem.isdigit():
        split = folders.pop()
    else:
        split = "train"
    return "/".join(folder for folder in folders if folder != "data") or DEFAULT, split


def _keyword(text: str) -> str | None:
    words = set(re.split(r"[-._ 0-9]+", text))
    return next((split for split, known in KEYWORDS.items() if words & known), None)
