"""A small model of any architecture that mlx_lm or mlx_vlm has, from its configuration classes.

The fields of an architecture's dataclasses keep their defaults; those without one get a plausible
small value by their name, or by their type where the name is new (``default_fields``). MLX is
lazy: a model that nobody evaluates has no weights, however large the defaults are.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import mlx.nn as nn

from tests.models.default_fields import (
    COUNTS,
    DECLARED,
    FIELDS,
    LAYERS,
    OFTEN_NEEDED,
    TOWER,
    Fields,
)

__all__ = ["architectures", "default_model"]


def architectures(package: str) -> list[str]:
    """The names of the modules in ``package`` ("mlx_lm" or "mlx_vlm") that a model type can
    stand for; parts that architectures share among them, such as ``cache``, have no model."""
    models = importlib.import_module(f"{package}.models")
    return sorted(found.name for found in pkgutil.iter_modules(models.__path__))


def default_model(package: str, name: str) -> nn.Module | None:
    """The architecture's model, without weights; None where the module defines none.

    Raises what its module or its configuration raises; SystemExit is one of those.
    """
    module = importlib.import_module(f"{package}.models.{name}")
    if not hasattr(module, "Model"):
        return None
    declared = {"model_type": name, **DECLARED.get(name, {})}
    declared |= DECLARED.get(f"{package}:{name}", {})
    return _text(module, declared) if package == "mlx_lm" else _vision(module, declared)


def _text(module: ModuleType, declared: Fields) -> nn.Module:
    arguments = module.ModelArgs.from_dict(_filled(module.ModelArgs, declared))
    return module.Model(arguments)


def _vision(module: ModuleType, declared: Fields) -> nn.Module:
    from mlx_vlm.utils import update_module_configs

    if not hasattr(module, "ModelConfig"):
        return None
    parts = ("text", "vision", "perceiver", "projector", "audio")
    sections = dict(_sections(module, parts, declared))
    # some read the text's fields beside the sections
    fields = {**sections.get("text_config", {}), **_filled(module.ModelConfig, declared)}
    fields |= sections
    config = module.ModelConfig.from_dict(fields)
    config = update_module_configs(config, module, fields, parts)
    return module.Model(config)


def _sections(
    module: ModuleType, parts: tuple[str, ...], declared: Fields
) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts:
        kind = getattr(module, f"{part.title()}Config", None)
        if kind is not None:
            own = {"model_type": TOWER} if part == "vision" else dict(declared)
            section = f"{part}_config"
            yield section, _filled(kind, own | dict(declared.get(section, {})))


def _filled(kind: type, declared: Fields) -> dict[str, Any]:
    """The fields of the dataclass ``kind`` that have no default, and those that are declared."""
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        required = field.default is field.default_factory is dataclasses.MISSING
        if field.name in declared:
            if required or field.name != "model_type" or field.default is None:
                found[field.name] = declared[field.name]
        elif required:
            found[field.name] = _value(kind, field.name, hints[field.name], declared)
        elif field.name in OFTEN_NEEDED and not field.default:
            found[field.name] = FIELDS[field.name]
        elif field.name in COUNTS and isinstance(field.default, int):
            found[field.name] = LAYERS
    return found


def _value(kind: type, name: str, hint: Any, declared: Fields) -> Any:
    if name in FIELDS:
        return FIELDS[name]
    for inner in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            return _filled(inner, declared)
    if name == "text_config":
        return _filled(_text_class(kind), {**declared, **declared.get(name, {})})
    plain = {bool: False, int: 2, float: 1.0, str: "silu"}
    if type(None) in typing.get_args(hint):
        return None
    if hint in plain:
        return plain[hint]
    raise ValueError(f"no default for the field {name}: {hint}")


def _text_class(kind: type) -> Any:
    """What an architecture makes of ``text_config: dict``: a class beside its model or that of
    its parent, or that of an architecture that its module imports."""
    module = sys.modules[kind.__module__]
    for parent in module.Model.__mro__:
        beside = vars(sys.modules[parent.__module__])
        for name in ("TextArgs", "TextConfig", "TextModelArgs"):
            if name in beside:
                return beside[name]
    imported = (value for value in vars(module).values() if isinstance(value, ModuleType))
    return next(value.ModelArgs for value in imported if hasattr(value, "ModelArgs"))
