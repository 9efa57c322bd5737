"""Graphs on several streams at once: the same bytes as one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import pytest

from mlxforge.models import threads
from mlxforge.models.threads import Lanes
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.process import step_environment


def chain(seed: int) -> dict[str, mx.array]:
    x = mx.random.normal((16, 32), key=mx.random.key(seed))
    w = mx.random.normal((32, 32), key=mx.random.key(99))
    for _ in range(60):
        x = mx.tanh(x @ w)
    return {"last": x, "sum": x.sum()}


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("jobs", [0, 1, 5])
def test_results_come_in_order_and_do_not_depend_on_how_many_lanes(
    count: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: count)
    work: list[Callable[[], dict[str, mx.array]]] = [partial(chain, seed) for seed in range(jobs)]
    found = list(Lanes().each(work))
    assert len(found) == jobs
    for seed, entry in enumerate(found):
        plain = chain(seed)
        assert all(bytes(memoryview(entry[n])) == bytes(memoryview(plain[n])) for n in plain)


def test_steps_that_need_it_let_mlx_take_wide_graphs_side_by_side() -> None:
    def width(step: Gptq | Dwq) -> str | None:
        return step_environment(step).get("MLX_BFS_MAX_WIDTH")

    parameters = {"method": "gptq", "bits": 4, "group_size": 64, "mode": "affine",
                  "scales": "search", "dtype": None, "refine": "dwq"}  # fmt: skip
    assert width(Dwq(**parameters)) == "200" and width(Gptq(**parameters)) is None
