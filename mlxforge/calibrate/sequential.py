"""Quantizing layer by layer, each on what the layers before it make once they are quantized.

Block by block, and within a block stage by stage: layers that are given the same inputs are a
stage. A stage's inputs are taken over all windows, its layers are quantized, and what follows is
run with them as they are now. Memory holds one block's weights, one stage's statistics, and what
the blocks hand on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import Blocks
from mlxforge.calibrate.observe import observed
from mlxforge.errors import ForgeError
from mlxforge.models.scoring.leaves.fixed import expert_count, fix_weight, has_matrix, weight_of
from mlxforge.models.scoring.loading import attention
from mlxforge.progress import Progress
from mlxforge.quantize.affine import Affine

__all__ = ["Hessian", "Solve", "Stage", "quantize_in_sequence"]

WAVE_TOKENS = 2048
PROBE = 16  # tokens
WIDE = 8192  # columns: from there on sums are float32


@dataclass(frozen=True)
class Hessian:
    """``matrix`` [columns, columns], float64 (float32 where it is wide): the mean of x x^T over
    the inputs x of a layer, or of one expert; ``tokens`` over how many."""

    matrix: np.ndarray
    tokens: int


Solve = Callable[[str, int | None, mx.array, Hessian], Affine]
"""Path of a layer, the expert, its weight float32 [rows, columns] and what came in: the codes."""

Stage = tuple[str, ...]


def quantize_in_sequence(
    model: nn.Module,
    paths: Collection[str],
    windows: np.ndarray,
    solve: Solve,
    keep: Callable[[str, Sequence[Affine]], None],
    progress: Progress,
) -> None:
    """Quantize the layers at ``paths`` of ``model``, which has its weights in float32.

    ``windows`` is int32 [samples, length]. ``keep`` is given each layer's codes, one entry for a
    plain layer, one per expert for stacked ones; from then on the model uses them. Raises
    ForgeError that names the layer whose inputs are not finite.
    """
    run = _Run(model, paths, windows)
    done = 0
    with attention():
        for stage in run.stages():
            for path, hessians in run.inputs(stage):
                module = run.modules[path]
                experts = expert_count(module)
                entries = [
                    solve(path, number if experts else None,
                          weight_of(module, number if experts else None), hessian)
                    for number, hessian in enumerate(hessians)
                ]  # fmt: skip
                fix_weight(module, entries)
                keep(path, entries)
                done += 1
                progress(done, len(paths), "layers")


class _Enough(Exception):
    """What a stage is given is known, and nothing after it need run."""


class _Run:
    """The windows on their way through the model: what every wave is when it enters a block."""

    def __init__(self, model: nn.Module, paths: Collection[str], windows: np.ndarray) -> None:
        count, length = windows.shape
        step = max(1, WAVE_TOKENS // length)
        self._waves = [mx.array(windows[at : at + step]) for at in range(0, count, step)]
        self._before: list[Any] = [None] * len(self._waves)
        self._root = getattr(model, "whole", model)
        self.modules = dict(self._root.named_modules())
        self._paths = [path for path in paths if has_matrix(self.modules[path])]
        self._blocks = Blocks(model, self._waves[0][:1, :PROBE])
        self._index = 0

    def stages(self) -> Iterator[Stage]:
        """Every stage, in the order in which the model comes to it."""
        seen: set[str] = set()
        for index in range(len(self._blocks) + 1):
            self._index = index
            for stage in self._stages_here():
                fresh = tuple(path for path in stage if path not in seen)
                seen.update(fresh)
                if fresh:
                    yield fresh
            if index < len(self._blocks):
                self._before = [_evaluated(self._go(wave)) for wave in range(len(self._waves))]

    def inputs(self, stage: Stage) -> Iterator[tuple[str, list[Hessian]]]:
        """Each layer of ``stage`` with what comes into it, per expert where there are any."""
        sums: dict[str, _Sums] = {}
        first = stage[0]

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            if path == first:
                experts = expert_count(self.modules[path])
                sums.setdefault(path, _Sums(x.shape[-1], experts)).add(x, chosen)
                raise _Enough

        with observed(self._root, [first], tell):
            for wave in range(len(self._waves)):
                with suppress(_Enough):
                    self._go(wave)
        found = sums[first].means(first)
        for path in stage:
            yield path, found

    def _go(self, wave: int) -> Any:
        return self._blocks.run(self._index, self._waves[wave], self._before[wave])

    def _stages_here(self) -> list[Stage]:
        """Layers of this block that are given the same array, in the order of their use."""
        given: list[tuple[mx.array, list[str]]] = []

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            if given and given[-1][0] is x:
                given[-1][1].append(path)
            else:
                given.append((x, [path]))

        with observed(self._root, self._paths, tell):
            self._go(0)
        return [tuple(dict.fromkeys(paths)) for _, paths in given]


class _Sums:
    """Sums of x x^T, float32 on the device for a wave, float64 over waves."""

    def __init__(self, columns: int, experts: int) -> None:
        shape = (max(experts, 1), columns, columns)
        self._experts = experts
        self._total = np.zeros(shape, dtype=np.float64 if columns <= WIDE else np.float32)
        self._tokens = np.zeros(shape[0], dtype=np.int64)

    def add(self, x: mx.array, chosen: mx.array | None) -> None:
        columns = x.shape[-1]
        if not self._experts or chosen is None:
            self._add(0, x.reshape(-1, columns))
            return
        batch = np.broadcast_shapes(x.shape[:-2], chosen.shape)
        rows = mx.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, columns)
        owner = np.broadcast_to(np.asarray(chosen), batch).reshape(-1)
        for expert in np.unique(owner):
            self._add(int(expert), rows[mx.array(np.flatnonzero(owner == expert))])

    def _add(self, expert: int, rows: mx.array) -> None:
        rows = rows.astype(mx.float32)
        self._total[expert] += np.asarray(rows.T @ rows)
        self._tokens[expert] += len(rows)

    def means(self, path: str) -> list[Hessian]:
        if not np.isfinite(self._total).all():
            raise ForgeError(
                f"the inputs of {path} are not finite over the calibration text",
                "the source overflows: is its dtype float16, or a weight broken?",
            )
        return [
            Hessian(total / max(int(tokens), 1), int(tokens))
            for total, tokens in zip(self._total, self._tokens, strict=True)
        ]


def _evaluated(value: Any) -> Any:
    mx.eval(value)
    return value
