"""How a parameter of a model comes out of the tensors that its files hold, as plain data.

mlx_lm's ``sanitize`` renames, stacks, splits, transposes and decodes what a checkpoint holds. An
expression is one parameter's share of that: a small tree whose leaves are stored tensors. It is
written down once per source, and any rows of the parameter can be computed from it without the
rest (see ``rows``). In JSON::

    {"stored": "model.layers.0.mlp.experts.3.up_proj.weight", "shape": [64, 32], "dtype": …}
    {"operation": "Concatenate", "arguments": [0], "inputs": […], "shape": […], "dtype": …}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Computed", "Constant", "Expression", "Stored", "Whole", "from_json", "to_json"]


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file; ``dtype`` is the one in which MLX reads it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Constant:
    """Numbers that ``sanitize`` brings along; ``values`` nested as the shape says."""

    values: Any
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Computed:
    """An MLX primitive over ``inputs``; ``output`` says which of its results is meant."""

    operation: str
    arguments: tuple[Any, ...]
    inputs: tuple[Expression, ...]
    shape: tuple[int, ...]
    dtype: str
    output: int = 0


@dataclass(frozen=True)
class Whole:
    """A parameter that only mlx_lm's own loader can compute, all of it at once."""

    name: str
    shape: tuple[int, ...]
    dtype: str


Expression = Stored | Constant | Computed | Whole


def to_json(
    expression: Expression, constants: dict[int, tuple[int, Constant]] | None
) -> dict[str, Any]:
    """``constants`` collects those that are met, by identity, with their numbers in the order of
    their appearance; they are referred to by number. None writes them out."""
    common = {"shape": list(expression.shape), "dtype": expression.dtype}
    match expression:
        case Stored(name):
            return {"stored": name, **common}
        case Whole(name):
            return {"whole": name, **common}
        case Constant(values):
            if constants is None:
                return {"constant": values, **common}
            number, _ = constants.setdefault(id(expression), (len(constants), expression))
            return {"number": number}
        case Computed():
            return {
                "operation": expression.operation,
                "arguments": _listed(expression.arguments),
                "inputs": [to_json(entry, constants) for entry in expression.inputs],
                "output": expression.output,
                **common,
            }


def from_json(raw: dict[str, Any], constants: Sequence[Expression]) -> Expression:
    """``constants`` by their numbers."""
    if "number" in raw:
        found: Expression = constants[raw["number"]]
        return found
    shape, dtype = tuple(raw["shape"]), raw["dtype"]
    if "stored" in raw:
        return Stored(raw["stored"], shape, dtype)
    if "whole" in raw:
        return Whole(raw["whole"], shape, dtype)
    if "constant" in raw:
        return Constant(raw["constant"], shape, dtype)
    inputs = tuple(from_json(entry, constants) for entry in raw["inputs"])
    arguments = _tupled(raw["arguments"])
    return Computed(raw["operation"], arguments, inputs, shape, dtype, raw["output"])


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(entry) for entry in value) if isinstance(value, list) else value
