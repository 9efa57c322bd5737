"""Bits for each layer that is free to have any: as many in all as the recipe's target allows, where
they do the most.

What counts towards the target is what `doit plan` counts: scales and biases, layers whose bits are
given, and all that is not quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlxforge.errors import ForgeError
from mlxforge.models.layers.assign import is_free
from mlxforge.models.layers.assignment import Assignment
from mlxforge.models.layers.size import assignment_bytes, model_size
from mlxforge.models.layers.table import LayerTable
from mlxforge.recipe.methods import Dynamic
from mlxforge.recipe.model import Recipe
from mlxforge.recipe.modes import MODES

__all__ = ["NEAR", "Widths", "check_target", "choose_widths"]

NEAR = 0.01  # bits per weight that a model may stay below its target

Cost = Callable[[int], float]
"""What a layer costs in so many bits."""


@dataclass(frozen=True)
class Widths:
    """``bits`` by path; ``bits_per_weight`` of the whole model; ``cost``: the sum of costs, and
    ``bound``, below which no choice's can be."""

    bits: Mapping[str, int]
    bits_per_weight: float
    cost: float
    bound: float


def check_target(table: LayerTable, assignments: Sequence[Assignment], recipe: Recipe) -> None:
    """Raises ForgeError, at the recipe's line, where nothing is free or no choice of bits meets
    the target. ``assignments`` are those before bits are chosen."""
    wanted = recipe.quantize.dynamic
    assert wanted is not None
    layers = _Free(table, assignments, recipe.quantize.dtype)
    at = recipe.positions.get(("quantize", "dynamic", "target_bits_per_weight"))
    if not layers.paths:
        raise ForgeError(
            "dynamic has nothing to choose: rules and guards decide every layer",
            "leave a rule out, or use another method",
            at=recipe.quantize.at,
        )
    low, high = (layers.bits_per_weight(dict.fromkeys(layers.paths, bits))
                 for bits in (wanted.min_bits, wanted.max_bits))  # fmt: skip
    target = wanted.target_bits_per_weight
    if low > target:
        raise ForgeError(
            f"target_bits_per_weight is {target:g}, and {wanted.min_bits} bits everywhere make "
            f"{low:.3f}, embeddings, scales and what is not quantized included",
            f"use {low + NEAR / 2:.2f} or more, a smaller min_bits or a larger group_size",
            at=at,
        )
    if high + NEAR < target:
        raise ForgeError(
            f"target_bits_per_weight is {target:g}, and {wanted.max_bits} bits everywhere make "
            f"no more than {high:.3f}",
            f"use {high:.2f} or less, or a larger max_bits",
            at=at,
        )


def choose_widths(
    table: LayerTable,
    assignments: Sequence[Assignment],
    dtype: str | None,
    wanted: Dynamic,
    costs: Mapping[str, Cost],
) -> Widths:
    """The choice of least cost that meets ``wanted``'s target.

    A layer without ``costs``, which no token came to, gets the width that all could have alike.
    """
    from mlxforge.quantize.allocate import Choice, allocate

    layers = _Free(table, assignments, dtype)
    allowed = [b for b in sorted(MODES["affine"].bits) if wanted.min_bits <= b <= wanted.max_bits]
    target = wanted.target_bits_per_weight
    alike = [b for b in allowed if layers.bits_per_weight(dict.fromkeys(layers.paths, b)) <= target]
    plain = alike[-1] if alike else allowed[0]
    sides = [
        [
            Choice(bits, layers.bytes(path, bits), costs[path](bits) if path in costs else 0.0)
            for bits in (allowed if path in costs else (plain,))
        ]
        for path in layers.paths
    ]
    budget = int(target * layers.parameters / 8) - layers.fixed
    found = allocate(sides, budget)
    if found is None:
        raise ForgeError(
            f"target_bits_per_weight {target:g} cannot be met",
            f"{layers.bits_per_weight(dict.fromkeys(layers.paths, allowed[0])):.3f} is the least",
        )
    bits = dict(zip(layers.paths, found.bits, strict=True))
    return Widths(bits, layers.bits_per_weight(bits), found.cost, found.bound)


class _Free:
    """The layers whose bits can be chosen, and what those make of the model's size. A head that is
    a copy of the embeddings counts with them."""

    def __init__(
        self, table: LayerTable, assignments: Sequence[Assignment], dtype: str | None
    ) -> None:
        self._cast = table.cast(dtype)
        own = {entry.layer.path: entry for entry in assignments}
        free = [e for e in assignments if is_free(e) and e.layer.tied is None]
        self.paths = [entry.layer.path for entry in free]
        self._together = {
            path: [own[path], *(e for e in assignments if e.layer.tied == path)]
            for path in self.paths
        }
        size = model_size(assignments, self._cast)
        self.parameters = size.parameters
        chosen = (e for together in self._together.values() for e in together)
        self.fixed = size.bytes - sum(assignment_bytes(e, self._cast) for e in chosen)

    def bytes(self, path: str, bits: int) -> int:
        return sum(
            assignment_bytes(replace(e, scheme=replace(e.scheme, bits=bits)), self._cast)
            for e in self._together[path]
            if e.scheme
        )

    def bits_per_weight(self, bits: Mapping[str, int]) -> float:
        total = self.fixed + sum(self.bytes(path, width) for path, width in bits.items())
        return 8 * total / self.parameters
