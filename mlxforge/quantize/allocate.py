"""Which width each layer gets, so that all together fit a budget and cost the least.

The multiple-choice knapsack problem: of every layer's widths one is chosen, the sum of bytes is
bounded, the sum of costs is to be least. It is solved exactly:

1. The Lagrangian bound (H. Everett, 1963): for a price per byte, every layer's cheapest width at
   that price gives a bound below which no choice of all can come. The best price is where the
   layers' convex hulls, cut into steps of falling gain per byte, have used up the budget.
2. Taking these steps as long as they fit gives a choice that is good already. What lies between
   it and the bound is the gap. A width that costs more than the gap above its layer's cheapest,
   at that price, is in no better choice.
3. What is left is enumerated layer by layer (J. Nemhauser and Z. Ullmann, 1969): of partial
   choices only those are kept that no other beats in bytes and cost, and whose bound is within
   the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["Allocation", "Choice", "allocate"]

MOST_STATES = 1 << 18  # partial choices that are kept: more are thinned out, which the bound tells
SLACK = 1e-12  # of the costs: what rounding of float64 may add


@dataclass(frozen=True)
class Choice:
    """One of the widths that a layer may have; ``cost`` in any unit that adds up over layers."""

    bits: int
    bytes: int
    cost: float


@dataclass(frozen=True)
class Allocation:
    """``bits`` of each layer, in the order in which they were given. ``cost`` is the sum of costs;
    no choice costs less than ``bound``. Where ``exact``, none costs less than ``cost``."""

    bits: tuple[int, ...]
    bytes: int
    cost: float
    bound: float
    exact: bool


def allocate(layers: Sequence[Sequence[Choice]], budget: int) -> Allocation | None:
    """The cheapest choice of one of each of ``layers`` with at most ``budget`` bytes together;
    None where the smallest of each are more than that.

    Of two choices alike in cost the smaller is taken, whatever the order of widths.
    """
    sides = [_useful(choices) for choices in layers]
    if sum(side[0].bytes for side in sides) > budget:
        return None
    price, taken = _priced(sides, budget)
    best = [side[place] for side, place in zip(sides, taken, strict=True)]
    least = [min(choice.cost + price * choice.bytes for choice in side) for side in sides]
    bound = sum(least) - price * budget
    cost = sum(choice.cost for choice in best)
    gap = cost - bound + SLACK * (1 + abs(cost))
    found, exact = _enumerated(sides, budget, price, least, gap)
    if found is not None and sum(choice.cost for choice in found) < cost:
        best = found
    return Allocation(
        tuple(choice.bits for choice in best),
        sum(choice.bytes for choice in best),
        (total := sum(choice.cost for choice in best)),
        min(bound, total),  # equal ones are rounded apart
        exact,
    )


def _useful(choices: Sequence[Choice]) -> list[Choice]:
    """By bytes, each cheaper in cost than all that are smaller."""
    found: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.bytes, choice.cost, choice.bits)):
        if not found or choice.cost < found[-1].cost:
            found.append(choice)
    return found


def _priced(sides: Sequence[Sequence[Choice]], budget: int) -> tuple[float, list[int]]:
    """The best price per byte, and a choice, by place, that fits."""
    steps = [
        (-gain, layer, place)
        for layer, side in enumerate(sides)
        for gain, place in _hull(side)
    ]  # fmt: skip
    taken, left = [0] * len(sides), budget - sum(side[0].bytes for side in sides)
    price, stuck = 0.0, set()
    for gain, layer, place in sorted(steps):
        more = sides[layer][place].bytes - sides[layer][taken[layer]].bytes
        if more <= left and layer not in stuck:
            taken[layer], left = place, left - more
        else:
            price = price or -gain
            stuck.add(layer)  # its later steps would be larger still
    return price, taken


def _hull(side: Sequence[Choice]) -> list[tuple[float, int]]:
    """The corners of the lower convex hull behind the first: the gain per byte that leads there,
    which falls from one to the next, and the choice's place."""
    corners = [0]
    for place in range(1, len(side)):
        while len(corners) > 1 and _gain(side, *corners[-2:]) <= _gain(side, corners[-1], place):
            corners.pop()
        corners.append(place)
    return [(_gain(side, before, place), place) for before, place in pairwise(corners)]


def _gain(side: Sequence[Choice], one: int, other: int) -> float:
    return (side[one].cost - side[other].cost) / (side[other].bytes - side[one].bytes)


def _enumerated(
    sides: Sequence[Sequence[Choice]],
    budget: int,
    price: float,
    least: Sequence[float],
    gap: float,
) -> tuple[list[Choice] | None, bool]:
    """The cheapest choice within ``gap`` of the bound, and whether nothing was thinned out."""
    near = [
        [choice for choice in side if choice.cost + price * choice.bytes - low <= gap]
        for side, low in zip(sides, least, strict=True)
    ]
    if not all(near):
        return None, True
    order = sorted(range(len(near)), key=lambda layer: (len(near[layer]), layer))
    smallest = sum(min(choice.bytes for choice in side) for side in near)
    size, cost = np.zeros(1, np.int64), np.zeros(1)
    low, exact = 0.0, True
    trail: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]] = []
    for layer in order:
        side = near[layer]
        low += least[layer]
        smallest -= min(choice.bytes for choice in side)
        sizes = np.concatenate([size + choice.bytes for choice in side])
        costs = np.concatenate([cost + choice.cost for choice in side])
        fits = (sizes + smallest <= budget) & (costs + price * sizes - low <= gap)
        kept = _undominated(sizes, costs, np.flatnonzero(fits))
        if len(kept) > MOST_STATES:
            kept, exact = _thinned(kept, costs + price * sizes), False
        trail.append(((kept % len(size)).astype(np.int32), (kept // len(size)).astype(np.uint8)))
        size, cost = sizes[kept], costs[kept]
        if not len(kept):
            return None, exact
    state = int(np.lexsort((size, cost))[0])
    found: list[Choice | None] = [None] * len(sides)
    for layer, (parents, places) in zip(reversed(order), reversed(trail), strict=True):
        found[layer] = near[layer][places[state]]
        state = int(parents[state])
    return [choice for choice in found if choice is not None], exact


def _undominated(
    sizes: npt.NDArray[np.int64], costs: npt.NDArray[np.float64], among: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """By size, those that are cheaper than all that are smaller."""
    among = among[np.lexsort((costs[among], sizes[among]))]
    own = costs[among]
    before = np.minimum.accumulate(own)
    first = np.ones(len(among), bool)
    first[1:] = own[1:] < before[:-1]
    return among[first]


def _thinned(kept: npt.NDArray[np.intp], bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Those of the best bounds, in their order."""
    best = np.argsort(bounds[kept], kind="stable")[:MOST_STATES]
    return kept[np.sort(best)]
