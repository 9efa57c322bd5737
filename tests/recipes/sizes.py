"""The layer table of a released model, from its configuration: MLX is lazy, so that the largest
model takes no memory while nobody evaluates it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import mlx.nn as nn
from mlx_lm.utils import _get_classes
from mlx_vlm.utils import get_model_and_args, update_module_configs

from mlxforge.models.layers.assign import Assignment, assign
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.size import ModelSize, model_size
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.source.loader import loader_of
from mlxforge.recipe.model import Recipe

__all__ = ["size_of", "table_of"]

STORED = "bfloat16"
"""What all of these releases are stored in, whether their configuration says so or not."""


def table_of(release: dict[str, Any]) -> LayerTable:
    config = deepcopy(release)
    model = _seeing(config) if loader_of(config) == "mlx_vlm" else _reading(config)
    return inspect_model(model, release)


def _reading(config: dict[str, Any]) -> nn.Module:
    kind, arguments = _get_classes(config)
    return kind(arguments.from_dict(config))


def _seeing(config: dict[str, Any]) -> nn.Module:
    """As mlx_vlm's own ``load_model`` begins."""
    kind, _ = get_model_and_args(config)
    for section in ("text_config", "vision_config", "audio_config"):
        config.setdefault(section, {})
    found = kind.ModelConfig.from_dict(config)
    parts = ["text", "vision", "perceiver", "projector", "audio"]
    return kind.Model(update_module_configs(found, kind, config, parts))


def size_of(table: LayerTable, recipe: Recipe) -> tuple[ModelSize, tuple[Assignment, ...]]:
    """What the recipe would make of the released model, and how large that is."""
    decided = assign(table, recipe.quantize)
    return model_size(decided, recipe.quantize.dtype or STORED), decided
