"""What training follows downhill is the slope of what it is judged by: finite differences, of a
block's states, of the head's divergence and of the whole model's, with what anchors the weights."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.distill.descent import Parameters, Problem
from mlxforge.calibrate.distill.divergence import Head
from mlxforge.calibrate.distill.objective import block_problem, head_problem
from mlxforge.calibrate.distill.pair import Pair
from mlxforge.calibrate.distill.through import through_problem
from mlxforge.calibrate.shelf import Shelf
from mlxforge.models.threads import one_thread_per_product
from tests.calibrate.distill.common import pair_of, rounded
from tests.tiny import make_llama

STEP = 2.0**-5  # of a group's grid


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """In float32, so that values are stored as they are and a loss has a slope."""
    root = tmp_path_factory.mktemp("gradients")
    make_llama(root / "source", tied=False, dtype="float32")
    return pair_of(root / "source", rounded(root / "source", root))


def stages(pair: Pair, temperature: float) -> Iterator[tuple[Problem, Parameters]]:
    """The problem of each stage, behind blocks that are as they were, and where it starts."""
    batches = range(len(pair.batches.tokens))
    source, student = (Shelf().states(len(batches)) for _ in range(2))
    for stage in pair.stages:
        layers = pair.layers(stage, norms=True)
        anchors = pair.anchors({stage.number: layers})
        if stage.number == len(pair.student):
            head = Head(pair.source, pair.student, temperature, pair.lanes)
            yield head_problem(pair, layers, head, student, source, anchors), layers.start()
            return
        for batch in batches:
            source[batch] = pair.passed(pair.source, stage.number, batch, source[batch])
        yield block_problem(pair, stage, layers, student, source, anchors), layers.start()
        for batch in batches:
            student[batch] = pair.passed(pair.student, stage.number, batch, student[batch])


def slopes(problem: Problem, start: Parameters, batch: int, seed: int) -> tuple[float, float]:
    """Along a direction by chance: the gradient's, and that of the loss itself."""
    random = np.random.default_rng(seed)
    way = {n: mx.array(random.normal(size=v.shape).astype(np.float32)) for n, v in start.items()}
    gradient = problem.gradient(start, batch)
    assert gradient.keys() == start.keys()
    told = sum((gradient[name] * way[name]).sum().item() for name in start)
    ends = [
        problem.judge({name: start[name] + side * STEP * way[name] for name in start})
        for side in (1, -1)
    ]
    return told, (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_of_every_stage(pair: Pair, temperature: float) -> None:
    (batch,) = pair.batches.held_out
    with one_thread_per_product():
        for number, (problem, start) in enumerate(stages(pair, temperature)):
            found = np.array([slopes(problem, start, batch, seed) for seed in range(4)])
            scale = np.abs(found).max()
            assert np.abs(found[:, 0] - found[:, 1]).max() < 0.02 * scale, (number, found)


def test_of_the_whole_model(pair: Pair) -> None:
    layers = {stage.number: pair.layers(stage, norms=True) for stage in pair.stages}
    start = {name: value for own in layers.values() for name, value in own.start().items()}
    (batch,) = pair.batches.held_out
    with one_thread_per_product():
        problem = through_problem(pair, layers, 1.0)
        found = np.array([slopes(problem, start, batch, seed) for seed in range(4)])
    assert np.abs(found[:, 0] - found[:, 1]).max() < 0.02 * np.abs(found).max(), found
