"""Gradient descent that cannot make things worse: its best state on windows held out.

Adam (Kingma and Ba 2015, arXiv 1412.6980) with a learning rate that falls linearly to zero. Every
so often the state is judged on windows held out; the best one is the result, the start being one
of them, and where ``PATIENCE`` judgements in a row find no better one, it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlxforge.calibrate.shuffled import permutation

__all__ = ["Descent", "Parameters", "Problem", "State", "descend"]

Parameters = dict[str, mx.array]

MOMENTUM, MEMORY, TINY = 0.9, 0.99, 1e-12
PARTS = ("parameters", "mean", "square", "best")
CHECKS = 8  # judgements, if it does not end early
PATIENCE = 3


@dataclass(frozen=True)
class Problem:
    """``gradient`` of the loss on one of ``batches``, by parameters; ``judge``: the loss on what is
    held out, at the values that would be stored."""

    batches: int
    gradient: Callable[[Parameters, int], Parameters]
    judge: Callable[[Parameters], float]


@dataclass
class State:
    """Where a descent stands: ``step`` iterations are done; the moments of the gradients; the best
    parameters, with their loss; ``first``: the loss of the start; ``idle``: judgements since the
    best one."""

    step: int
    parameters: Parameters
    mean: Parameters
    square: Parameters
    best: Parameters
    loss: float
    first: float
    idle: int

    def arrays(self) -> Parameters:
        """All of its arrays; ``of`` makes a state of them and of ``facts`` again."""
        parts = (self.parameters, self.mean, self.square, self.best)
        return {
            f"{kind}:{name}": value
            for kind, part in zip(PARTS, parts, strict=True)
            for name, value in part.items()
        }

    def facts(self) -> dict[str, float]:
        return {"step": self.step, "loss": self.loss, "first": self.first, "idle": self.idle}

    @classmethod
    def of(cls, arrays: Parameters, facts: Mapping[str, Any]) -> State:
        parts: dict[str, Parameters] = {kind: {} for kind in PARTS}
        for name, value in arrays.items():
            kind, own = name.split(":", 1)
            parts[kind][own] = value
        parameters, mean, square, best = parts.values()
        return cls(**facts, parameters=parameters, mean=mean, square=square, best=best)


@dataclass(frozen=True)
class Descent:
    """``parameters`` are the best ones; ``before`` and ``after`` the losses of the start and of
    them; ``steps`` how many iterations were made."""

    parameters: Parameters
    before: float
    after: float
    steps: int


def descend(
    problem: Problem,
    start: Parameters,
    iterations: int,
    learning_rate: float,
    seed: int,
    resumed: State | None = None,
    kept: Callable[[State], None] = lambda state: None,
) -> Descent:
    """At most ``iterations`` from ``start``; a ``resumed`` state goes on to the same result.

    ``kept`` is told the state after every iteration. Batches come in an order by ``seed``, all of
    them before one comes again.
    """
    state = resumed or _fresh(problem, start)
    every = max(1, math.ceil(iterations / CHECKS))
    while state.step < iterations and state.idle < PATIENCE and math.isfinite(state.first):
        batch = _batch(problem.batches, state.step, seed)
        gradient = problem.gradient(state.parameters, batch)
        rate = learning_rate * (1 - state.step / iterations)
        _advance(state, gradient, rate)
        if state.step % every == 0 or state.step == iterations:
            _judge(state, problem)
        kept(state)
    return Descent(state.best, state.first, state.loss, state.step)


def _fresh(problem: Problem, start: Parameters) -> State:
    zeros = {name: mx.zeros_like(value) for name, value in start.items()}
    loss = problem.judge(start)
    return State(0, dict(start), zeros, dict(zeros), dict(start), loss, loss, 0)


def _advance(state: State, gradient: Mapping[str, mx.array], rate: float) -> None:
    state.step += 1
    for name, slope in gradient.items():
        mean = MOMENTUM * state.mean[name] + (1 - MOMENTUM) * slope
        square = MEMORY * state.square[name] + (1 - MEMORY) * mx.square(slope)
        state.mean[name], state.square[name] = mean, square
        mean = mean / (1 - MOMENTUM**state.step)
        square = square / (1 - MEMORY**state.step)
        state.parameters[name] = state.parameters[name] - rate * mean / (mx.sqrt(square) + TINY)
    mx.eval(state.parameters, state.mean, state.square)


def _judge(state: State, problem: Problem) -> None:
    loss = problem.judge(state.parameters)
    state.idle += 1
    if loss < state.loss:
        state.loss, state.best, state.idle = loss, dict(state.parameters), 0


def _batch(batches: int, step: int, seed: int) -> int:
    epoch, at = divmod(step, batches)
    return int(permutation(batches, [seed, epoch])[at])
