"""Which library makes a model: mlx_lm, or mlx_vlm for models that see or hear.

Told from the config alone, without importing either of them, so that it can be said at plan time
and be part of keys and locks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

__all__ = ["LOADERS", "Loader", "knows", "loader_of", "sees", "senses", "types_of"]

Loader = Literal["mlx_lm", "mlx_vlm"]
LOADERS: tuple[Loader, ...] = ("mlx_lm", "mlx_vlm")

SIGHT = (
    "vision_config", "vision_tower", "mm_vision_tower", "img_processor",
    "visual", "vision_encoder", "vision_backbone", "vit_config",
)  # fmt: skip
"""Keys of a config under which an encoder of images is described."""
HEARING = ("audio_config",)


def sees(config: Mapping[str, Any]) -> bool:
    """Whether the config describes an encoder of images."""
    return any(config.get(key) for key in SIGHT)


def senses(config: Mapping[str, Any]) -> bool:
    """Whether the config describes an encoder of images or sounds."""
    return any(config.get(key) for key in (*SIGHT, *HEARING))


def loader_of(config: Mapping[str, Any]) -> Loader:
    """mlx_vlm for a model with senses, and for a type that only mlx_vlm knows; else mlx_lm."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return "mlx_lm"
    if senses(config):
        return "mlx_lm" if knows("mlx_lm", kind) and not _may_know("mlx_vlm", kind) else "mlx_vlm"
    return "mlx_vlm" if knows("mlx_vlm", kind) and not knows("mlx_lm", kind) else "mlx_lm"


def knows(loader: Loader, model_type: str) -> bool:
    """Whether the installed library has an architecture of this very name. Both know some types
    by other names besides."""
    return model_type in types_of(loader) or model_type.replace("-", "_") in types_of(loader)


def _may_know(loader: Loader, model_type: str) -> bool:
    return not types_of(loader) or knows(loader, model_type)


@cache
def types_of(loader: Loader) -> frozenset[str]:
    """Names of architectures and of some helpers: modules and packages under the library's
    ``models``; none where it is not installed."""
    spec = find_spec(loader)
    places = spec.submodule_search_locations if spec else None
    found = [entry for place in places or () for entry in (Path(place) / "models").glob("[!_]*")]
    return frozenset(
        entry.stem for entry in found if re.fullmatch(r"[\w.-]+", entry.name) and (
            entry.suffix == ".py" or (entry / "__init__.py").is_file())
    )  # fmt: skip
