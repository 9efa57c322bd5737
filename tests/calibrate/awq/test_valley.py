"""The least place of a grid, by few looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.calibrate.awq.valley import AROUND, Place, lowest


class Looks:
    """Heights of a grid, and where somebody looked."""

    def __init__(self, heights: np.ndarray) -> None:
        self.heights = heights
        self.seen: list[Place] = []

    def __call__(self, places: Sequence[Place]) -> list[float]:
        self.seen += places
        return [float(self.heights[place]) for place in places]


@given(st.integers(1, 9), st.integers(0, 10_000))
def test_no_neighbour_is_lower_and_no_place_is_looked_at_twice(size: int, seed: int) -> None:
    looks = Looks(np.random.default_rng(seed).normal(size=(size, size)))
    x, y = lowest(looks, size)
    around = [(x + a, y + b) for a, b in AROUND]
    inside = [place for place in around if min(place) >= 0 and max(place) < size]
    assert all(looks.heights[place] >= looks.heights[x, y] for place in inside)
    assert len(set(looks.seen)) == len(looks.seen) <= size * size
    assert looks.heights[x, y] == min(looks.heights[place] for place in looks.seen)


@given(st.floats(-1, 21), st.floats(-1, 21), st.floats(0.1, 10), st.floats(-0.9, 0.9))
def test_the_bottom_of_a_valley_is_found_by_a_fraction_of_the_places(
    x: float, y: float, height: float, slant: float
) -> None:
    across, down = np.meshgrid(np.arange(20) - x, np.arange(20) - y, indexing="ij")
    skew = 2 * slant * np.sqrt(height)
    looks = Looks(across**2 + height * down**2 + skew * across * down)
    found = looks.heights[lowest(looks, 20)]
    one_place = 1 + height + abs(skew)
    assert found <= looks.heights.min() + one_place
    assert len(looks.seen) < 150


def test_what_is_lowest_where_nothing_changes_is_soon_found() -> None:
    looks = Looks(np.add.outer(np.arange(20), np.arange(20)))
    assert lowest(looks, 20) == (0, 0)
    assert len(looks.seen) <= 18


def test_numbers_that_are_none_change_nothing() -> None:
    assert lowest(Looks(np.full((5, 5), np.nan)), 5) == (0, 0)
