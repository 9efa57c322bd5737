"""Which width each layer gets: against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.quantize import allocate as module
from mlxforge.quantize.allocate import Choice, allocate

WIDTHS = (2, 3, 4, 5, 6, 8)


@st.composite
def choices(draw: st.DrawFn) -> tuple[Choice, ...]:
    """A layer's widths: sizes grow with them, costs are whatever was measured."""
    widths = draw(st.lists(st.sampled_from(WIDTHS), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, 40))
    return tuple(
        Choice(bits, rows * bits + 3, draw(st.integers(0, 400)) / 16) for bits in sorted(widths)
    )


def cheapest(layers: list[tuple[Choice, ...]], budget: int) -> float | None:
    fits = (pick for pick in product(*layers) if sum(choice.bytes for choice in pick) <= budget)
    return min((sum(choice.cost for choice in pick) for pick in fits), default=None)


@settings(max_examples=300, deadline=None)
@given(st.lists(choices(), min_size=1, max_size=6), st.integers(0, 1500))
def test_no_choice_costs_less(layers: list[tuple[Choice, ...]], budget: int) -> None:
    found, best = allocate(layers, budget), cheapest(layers, budget)
    if best is None:
        assert found is None
        return
    assert found is not None and found.exact
    picked = [
        next(choice for choice in layer if choice.bits == bits)
        for layer, bits in zip(layers, found.bits, strict=True)
    ]
    assert sum(choice.bytes for choice in picked) == found.bytes <= budget
    assert sum(choice.cost for choice in picked) == found.cost
    assert abs(found.cost - best) < 1e-9
    assert found.bound <= best + 1e-9


def model(blocks: int) -> list[list[Choice]]:
    """Layers as those of a small llama, each with a sensitivity of its own."""
    random = np.random.default_rng(4)
    sizes = (331776, 331776, 110592, 110592, 884736, 884736, 884736)
    layers = []
    for size in (*sizes * blocks, 28311552):
        cost = size * 10 ** random.normal(-8, 0.5)
        layers.append([Choice(b, size * b // 8 + size // 16, cost * 4.0**-b) for b in WIDTHS])
    return layers


def test_a_model_of_many_layers_is_solved_exactly_and_fills_its_budget() -> None:
    layers = model(blocks=30)
    per_bit = sum(layer[1].bytes - layer[0].bytes for layer in layers)  # bytes
    for target in (2.75, 3.5, 4.5, 5.3):
        found = allocate(layers, int(target * per_bit))
        assert found is not None and found.exact
        assert target - 0.01 < found.bytes / per_bit <= target
        assert found.bound <= found.cost < 1.1 * found.bound


def test_more_states_than_are_kept_leave_a_choice_near_the_bound() -> None:
    layers = model(blocks=12)
    budget = int(4.5 * sum(layer[1].bytes - layer[0].bytes for layer in layers))
    best = allocate(layers, budget)
    most, module.MOST_STATES = module.MOST_STATES, 4
    try:
        thinned = allocate(layers, budget)
    finally:
        module.MOST_STATES = most
    assert best is not None and thinned is not None
    assert not thinned.exact and thinned.bytes <= budget
    assert best.cost <= thinned.cost < 1.1 * thinned.bound


def test_a_budget_below_the_smallest_has_no_choice() -> None:
    layers = model(blocks=1)
    least = sum(layer[0].bytes for layer in layers)
    assert allocate(layers, least - 1) is None
    found = allocate(layers, least)
    assert found is not None and set(found.bits) == {2}
