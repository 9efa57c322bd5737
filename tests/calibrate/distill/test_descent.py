"""Descents on a bowl whose bottom is known."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxforge.calibrate.distill.descent import CHECKS, PATIENCE, Parameters, Problem, State, descend

BOTTOM = mx.array([0.3, -0.2, 0.1])
START = {"x": mx.zeros(3)}


def bowl(batches: int = 3) -> Problem:
    def loss(parameters: Parameters, batch: int) -> mx.array:
        return mx.square(parameters["x"] - BOTTOM * (1 + 0.1 * (batch - 1))).sum()

    return Problem(batches, mx.grad(loss), lambda found: float(loss(found, 1)))


def test_it_arrives_at_the_bottom() -> None:
    found = descend(bowl(), START, 200, 0.02, seed=0)
    assert found.before == pytest.approx(0.14)
    assert found.after < 1e-3 and found.steps <= 200
    assert mx.allclose(found.parameters["x"], BOTTOM, atol=0.05)


@pytest.mark.parametrize("rate", [1e3, 1e30, float("inf")])
def test_an_absurd_learning_rate_leaves_the_start(rate: float) -> None:
    found = descend(bowl(), START, 40, rate, seed=0)
    assert found.after == found.before
    assert mx.array_equal(found.parameters["x"], START["x"])


def test_it_ends_early_where_what_is_held_out_gets_no_better() -> None:
    plain = bowl()
    lost = Problem(plain.batches, plain.gradient, lambda found: 1 + float(found["x"][0]))
    found = descend(lost, START, 80, 0.01, seed=0)
    assert found.steps == PATIENCE * 80 // CHECKS
    assert mx.array_equal(found.parameters["x"], START["x"])


def test_the_best_state_is_kept_not_the_last_one() -> None:
    losses = iter([9.0, 5.0, 3.0, 4.0, 6.0, 7.0])
    seen: list[mx.array] = []

    def judge(parameters: Parameters) -> float:
        seen.append(parameters["x"])
        return next(losses)

    found = descend(Problem(3, bowl().gradient, judge), START, 80, 0.01, seed=0)
    assert (found.before, found.after) == (9.0, 3.0)
    assert mx.array_equal(found.parameters["x"], seen[2])


def test_every_batch_has_its_turn_before_one_comes_again() -> None:
    met: list[int] = []

    def gradient(parameters: Parameters, batch: int) -> Parameters:
        met.append(batch)
        return {"x": mx.zeros(3)}

    descend(Problem(5, gradient, lambda found: -len(met)), START, 15, 0.01, seed=1)
    assert [sorted(met[at : at + 5]) for at in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert met[:5] != met[5:10] or met[5:10] != met[10:]


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_from_any_state_that_was_kept_it_goes_on_to_the_same_bytes(stop: int) -> None:
    kept: dict[int, tuple[Parameters, dict[str, float]]] = {}

    def keep(state: State) -> None:
        kept[state.step] = (state.arrays(), state.facts())

    whole = descend(bowl(), START, 20, 0.02, 3, None, keep)
    again = descend(bowl(), START, 20, 0.02, 3, State.of(*kept[stop]))
    assert mx.array_equal(whole.parameters["x"], again.parameters["x"])
    assert (whole.before, whole.after, whole.steps) == (again.before, again.after, again.steps)
