"""A source folder in Hugging Face layout: which files count, and whether they can be used."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError, Position
from mlxforge.models.headers import TensorInfo, read_header

__all__ = [
    "SIDE_FILES",
    "check_source",
    "is_source_file",
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
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def _listing(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def weight_files(folder: Path) -> list[Path]:
    """The shards, by name. The same pattern that mlx_lm reads."""
    return [path for path in _listing(folder) if fnmatchcase(path.name, WEIGHTS)]


def side_files(folder: Path) -> list[Path]:
    """Tokenizer, templates, licence and the like. Never code, never pickles."""
    return [path for path in _listing(folder) if _beside(path.name)]


def source_files(folder: Path) -> list[Path]:
    """Every file that a build may read; its digest is part of the key."""
    return [path for path in _listing(folder) if is_source_file(path.name)]


def is_source_file(name: str) -> bool:
    """Whether a build may read a source's file of this name."""
    return fnmatchcase(name, WEIGHTS) or name.endswith(".json") or _beside(name)


def _beside(name: str) -> bool:
    unwanted = any(fnmatchcase(name, glob) for glob in ("*.py", *PICKLED))
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
        pickled = [name for name in names if any(fnmatchcase(name, glob) for glob in PICKLED)]
        others = [name for name in names if name.endswith(".safetensors")]
        if pickled:
            raise ForgeError(
                f"{folder} has pickled weights only ({pickled[0]}); unpickling runs code",
                "use a revision with model*.safetensors, or convert it to safetensors first",
                at=at,
            )
        seen = f"; it has {others[0]}" if others else ""
        raise ForgeError(f"{folder} has no model*.safetensors{seen}", "rename or add them", at=at)


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
