"""Models that see or hear: what mlx_vlm is asked for. No other module imports its loader."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.source.purpose import other_purpose, writes_by_diffusion

__all__ = [
    "check_installed",
    "check_purpose",
    "check_writes",
    "is_known",
    "language_side",
    "load_model",
    "write_config",
]


def check_installed(model_type: str) -> None:
    if find_spec("mlx_vlm") is None:
        raise ForgeError(
            f"model type {model_type!r} is made by mlx-vlm, which is not installed",
            "`pip install 'mlxforge[vision]'`",
        )


def is_known(config: dict[str, Any]) -> bool:
    """Whether mlx_vlm has the architecture; drafters of speculative decoding are no models."""
    from mlx_vlm.utils import get_model_and_args

    try:
        found, _ = get_model_and_args(config)
    except (ValueError, KeyError, AttributeError, ImportError):
        return False
    return str(found.__name__).startswith("mlx_vlm.models.")


def check_purpose(folder: Path, config: dict[str, Any]) -> None:
    """ForgeError for an architecture of mlx_vlm's that makes something else than text."""
    from mlx_vlm.utils import get_model_and_args

    architecture, _ = get_model_and_args(config)
    if purpose := other_purpose(getattr(architecture, "Model", None)):
        raise ForgeError(
            f"{folder}: a {config['model_type']} model {purpose}",
            "models that write text can be built",
        )


def load_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """mlx_vlm's model of ``folder`` with its config, no weight read."""
    from mlx_vlm import utils

    return utils.load_model(folder, lazy=True), utils.load_config(folder)


def language_side(model: Any) -> Any:
    """The part of an mlx_vlm model that goes on with text; None where it has none."""
    return getattr(model, "language_model", None)


def check_writes(folder: Path, model_type: str, model: Any) -> None:
    """ForgeError for a model that does not write a text word by word."""
    side = language_side(model) is not None
    if not side or writes_by_diffusion(model):
        reason = "writes by diffusion, not word by word" if side else "has no language side"
        raise ForgeError(
            f"{folder}: a {model_type} model {reason}", "models that write text can be built"
        )


def write_config(config: dict[str, Any], path: Path) -> None:
    """As mlx_vlm.convert writes it; other tools tell such models by ``vision_config``."""
    from mlx_vlm.utils import save_config

    save_config({"vision_config": {}} | config, path)
