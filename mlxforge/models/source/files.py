"""A source folder in Hugging Face layout: which files count, and whether they can be used."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError, Position
from mlxforge.models.source.headers import TensorInfo, read_header
from mlxforge.recipe.further import NOTHING, Further, is_code, is_pickled

__all__ = [
    "SIDE_FILES",
    "check_source",
    "further_files",
    "is_model_file",
    "is_source_file",
    "is_weight_file",
    "read_config",
    "side_files",
    "source_files",
    "weight_files",
]

SIDE_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "spiece.model", "sentencepiece.bpe.model", "*.tiktoken", "*.jinja",
    "chat_template.json", "generation_config.json", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
"""What is copied beside the weights, byte for byte."""

WEIGHTS = "model*.safetensors"
SHARD = re.compile(r"(model.*)-(\d+)-of-(\d+)\.safetensors")
MOST_SHARDS = 10_000


def _listing(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def weight_files(folder: Path) -> list[Path]:
    """The shards, by name. The same pattern that mlx_lm reads."""
    return [path for path in _listing(folder) if is_weight_file(path.name)]


def is_weight_file(name: str) -> bool:
    return fnmatchcase(name, WEIGHTS)


def side_files(folder: Path, further: Collection[str] = ()) -> list[Path]:
    """Tokenizer, templates, licence and the like, and those named in ``further``. No code and no
    pickles but these."""
    return [path for path in _listing(folder) if _beside(path.name) or path.name in further]


def further_files(names: Iterable[str], further: Further) -> tuple[str, ...]:
    """Those of a source's files that are copied beside the weights only because a recipe wants
    it; code is not among them."""
    taken = {name for name in names if further.takes(name) and not _beside(name)}
    return tuple(sorted(taken - set(further.remote_code)))


def source_files(folder: Path, further: Further = NOTHING) -> list[Path]:
    """Every file that a build may read; its digest is part of the key."""
    return [path for path in _listing(folder) if is_source_file(path.name, further)]


def is_source_file(name: str, further: Further = NOTHING) -> bool:
    """Whether a build may read a source's file of this name."""
    every = is_weight_file(name) or name.endswith(".json") or _beside(name)
    return every or further.takes(name)


def is_model_file(name: str) -> bool:
    """Whether a loader would take a file of this path in a repository for a part of the model."""
    index = name == "model.safetensors.index.json"
    return "/" not in name and (index or is_weight_file(name) or _beside(name))


def _beside(name: str) -> bool:
    unwanted = is_code(name) or is_pickled(name)
    return not unwanted and any(fnmatchcase(name, glob) for glob in SIDE_FILES)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``. Raises ForgeError where it is missing, not JSON or not a model's."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ForgeError(
            f"{folder} has no config.json", "a source is a folder in Hugging Face layout"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ForgeError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ForgeError(f"{path} names no model_type", "is this a model's config.json?")
    return config


def check_source(folder: Path, at: Position | None = None) -> None:
    """Raises ForgeError where the folder cannot be a source, by a look at its names alone."""
    if not folder.exists():
        raise ForgeError(f"the source folder {folder} does not exist", at=at)
    if not folder.is_dir():
        raise ForgeError(f"the source {folder} is a file", "give the model's folder", at=at)
    names = [path.name for path in _listing(folder)]
    if not names:
        raise ForgeError(f"the source folder {folder} is empty", at=at)
    if not weight_files(folder):
        pickled = [name for name in names if is_pickled(name)]
        others = [name for name in names if name.endswith(".safetensors")]
        if pickled:
            raise ForgeError(
                f"{folder} has pickled weights only ({pickled[0]}); unpickling runs code",
                "use a revision with model*.safetensors, or convert it to safetensors first",
                at=at,
            )
        seen = f"; it has {others[0]}" if others else ""
        raise ForgeError(f"{folder} has no model*.safetensors{seen}", "rename or add them", at=at)
    if lacking := _lacking_shards(names):
        raise ForgeError(
            f"{folder} lacks {len(lacking):,} of its shards, such as {lacking[0]}",
            "get the files, all shards are needed",
            at=at,
        )


def _lacking_shards(names: Iterable[str]) -> list[str]:
    """Shards that others count in their names: ``model-00001-of-00003.safetensors``."""
    found = [shard for name in names if (shard := SHARD.fullmatch(name))]
    counted = {(shard[1], len(shard[2]), shard[3]) for shard in found}
    first = min((int(shard[2]) for shard in found), default=1)
    every = [
        f"{stem}-{number:0{width}d}-of-{count}.safetensors"
        for stem, width, count in sorted(counted)
        for number in range(min(first, 1), min(first, 1) + min(int(count), MOST_SHARDS))
    ]
    return sorted(set(every) - {shard[0] for shard in found})


def read_tensors(folder: Path) -> dict[str, tuple[Path, TensorInfo]]:
    """Every tensor of the source with its file, from the headers; shards checked by the index."""
    tensors: dict[str, tuple[Path, TensorInfo]] = {}
    for path in weight_files(folder):
        for name, info in read_header(path).items():
            if name in tensors:
                raise ForgeError(
                    f"tensor {name!r} is in {tensors[name][0]} and in {path.name}",
                    "remove the file that does not belong to the model",
                )
            tensors[name] = (path, info)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(index, tensors)
    return tensors


def _check_index(index: Path, tensors: dict[str, tuple[Path, TensorInfo]]) -> None:
    try:
        where = dict(json.loads(index.read_bytes())["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ForgeError(f"{index} is not a safetensors index") from None
    for name, shard in where.items():
        if not (index.parent / str(shard)).is_file():
            raise ForgeError(
                f"{index.parent} lacks the shard {shard}", "get the file, all shards are needed"
            )
        if name not in tensors:
            raise ForgeError(f"tensor {name!r} stands in {index.name} and in no shard")
