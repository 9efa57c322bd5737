"""Loading models and tokenizers through mlx_lm or mlx_vlm. Lazily: weights are read when they
are used."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlxforge.errors import ForgeError
from mlxforge.models.source import vision
from mlxforge.models.source.contradiction import contradiction
from mlxforge.models.source.files import check_source, read_config, read_tensors
from mlxforge.models.source.loader import loader_of, senses
from mlxforge.models.source.trust import may_run, not_named, tokenizer_may_run, trusted
from mlxforge.models.source.unknown import unknown_type
from mlxforge.models.streaming.tensors import trace_folder
from mlxforge.models.streaming.trace import Traced
from mlxforge.recipe.further import is_code

__all__ = [
    "cast_predicate",
    "check_config",
    "declared_dtype",
    "load_source",
    "load_tokenizer",
]

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
DTYPES = ("float16", "bfloat16", "float32")


def declared_dtype(config: dict[str, Any]) -> str | None:
    """The dtype that mlx_lm.convert casts to where it is not told one."""
    dtype = config.get("torch_dtype")
    if dtype is None and isinstance(config.get("text_config"), dict):
        dtype = config["text_config"].get("dtype")
    return dtype if dtype in DTYPES else None


def load_source(folder: Path) -> Traced:
    """The model of a source folder without its weights (see ``streaming.trace``).

    Raises ForgeError for a folder that is not whole, an unknown architecture, and code of its own
    that no recipe has named.
    """
    check_source(folder)
    raw = read_config(folder)
    check_config(folder, raw, trusted())
    tokenizer_may_run(folder)
    check_processor(folder, raw)
    read_tensors(folder)
    try:
        traced = trace_folder(folder)
    except ForgeError:
        raise
    except Exception as error:
        raise contradiction(folder, raw) or ForgeError(
            f"{folder}: config.json and weights do not make a {raw['model_type']} model: "
            f"{_first_line(error)}",
            "compare config.json with the tensors' names and shapes",
        ) from error
    if loader_of(raw) == "mlx_vlm":
        vision.check_writes(folder, raw["model_type"], traced.model)
    return traced


def check_processor(folder: Path, config: dict[str, Any]) -> None:
    """ForgeError for a model that sees or hears without the files that say how inputs are made."""
    if senses(config) and not any((folder / name).is_file() for name in PROCESSORS):
        raise ForgeError(
            f"{folder} has no {' or '.join(PROCESSORS)}: a {config['model_type']} model could not "
            "be given an image",
            "get the file from the model's repository",
        )


def check_config(folder: Path, config: dict[str, Any], remote_code: Collection[str] = ()) -> None:
    """Raises ForgeError for a config whose model cannot be built here, whatever its weights.
    ``remote_code``: names of files that may run."""
    model_type = config["model_type"]
    own = config.get("model_file")
    if own is not None:
        if may_run(own, remote_code):
            return
        raise ForgeError(
            f"{folder} needs its own code ({own!r}), which is not run",
            "use a source whose architecture mlx_lm has, or, where you trust the file, "
            "source: {remote_code: [NAME.py]}",
        )
    loader = loader_of(config)
    if loader == "mlx_vlm":
        vision.check_installed(model_type)
    if not (vision.is_known(config) if loader == "mlx_vlm" else _known_type(config)):
        raise unknown_type(folder, config, loader)
    if loader == "mlx_vlm":
        vision.check_purpose(folder, config)


def _known_type(config: dict[str, Any]) -> bool:
    from mlx_lm.utils import _get_classes

    if not re.fullmatch(r"[A-Za-z0-9_-]+", config["model_type"]):
        return False
    try:
        _get_classes(config)
    except (ValueError, AttributeError):
        return False
    except SystemExit:  # some architectures end the program where a package is missing
        raise ForgeError(
            f"mlx_lm's model type {config['model_type']!r} needs a package that is not installed",
            f"`python -c 'import mlx_lm.models.{config['model_type']}'` says which",
        ) from None
    return True


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".:")[:200]


def cast_predicate(model: nn.Module) -> Callable[[str], bool]:
    """The architecture's own word on which parameters a cast must leave alone."""
    predicate = getattr(model, "cast_predicate", None)
    return predicate if predicate is not None else lambda _: True


def load_tokenizer(folder: Path) -> Any:
    """mlx_lm's tokenizer of a model folder; ForgeError where there is none that works."""
    from mlx_lm.utils import load_config
    from mlx_lm.utils import load_tokenizer as upstream

    own = tokenizer_may_run(folder)
    try:
        ends = load_config(folder).get("eos_token_id")
        return upstream(folder, {"trust_remote_code": own}, eos_token_ids=ends)
    except Exception as error:
        lacking = Path(str(getattr(error, "filename", None) or "")).name
        if own and is_code(lacking):
            raise not_named(folder, lacking) from error
        raise ForgeError(
            f"the tokenizer in {folder} does not load: {_first_line(error)}",
            "does the folder hold tokenizer.json and tokenizer_config.json?",
        ) from error
