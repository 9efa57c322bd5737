"""AWQ for a whole model: which scales move between its layers, block after block.

A stage is layers that are given the same inputs. When the first reader of a pair comes, the pair's
scales are chosen for all of its readers; the scaler, which came before, is divided at once, be it a
norm or a projection that has been rounded already; and the readers are rounded with their columns
multiplied. Everything is measured behind the layers of blocks that are quantized, as they will be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.awq.journal import Journal
from mlxforge.calibrate.awq.scalers import Scalers, columns_of
from mlxforge.calibrate.awq.scales import Chooser
from mlxforge.calibrate.finite import check_inputs
from mlxforge.calibrate.observe import Given
from mlxforge.calibrate.run import Run
from mlxforge.calibrate.stages import Stage, Stages
from mlxforge.calibrate.statistics import means_of, sums_of
from mlxforge.models.layers.assign import Assignment, affine_schemes
from mlxforge.models.layers.pairs import ROWS, Pair
from mlxforge.models.scoring.leaves.fixed import expert_count, fix_weight
from mlxforge.models.writing.chosen import ChosenWriter
from mlxforge.models.writing.parallel import in_order, workers
from mlxforge.progress import Progress
from mlxforge.quantize.affine import Affine, joined
from mlxforge.quantize.awq import Rounding, divided, exponents
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.moved import UNMOVED, Moved
from mlxforge.recipe.methods import Awq as Settings

__all__ = ["Scaling"]

ROWS_AT_ONCE = 1024  # of a weight, for one thread at a time


class Scaling:
    """Chooses scales and codes for the layers of ``run``; ``notes`` tells the scales. What a run
    before this one left in ``kept`` is taken up."""

    def __init__(
        self,
        run: Run,
        assignments: Sequence[Assignment],
        cast: str | None,
        pairs: Collection[Pair],
        settings: Settings,
        writer: ChosenWriter,
        kept: Path,
    ) -> None:
        self.notes: list[dict[str, Any]] = []
        self._run = run
        self._stages = Stages(run)
        layers = [entry.layer for entry in assignments]
        dtypes: dict[str, mx.Dtype] = {
            tensor.name: getattr(mx, tensor.dtype_after(cast))
            for layer in layers
            for tensor in layer.tensors
        }
        schemes = affine_schemes(assignments)
        self._roundings = {
            path: Rounding(
                scheme.bits, scheme.group_size, dtypes[f"{path}.weight"], settings.clip
            )
            for path, scheme in schemes.items()
        }  # fmt: skip
        self._journal = Journal(writer, kept, schemes, run.modules)
        self._scalers = Scalers(run.modules, dtypes, self._journal.add_tensor)
        grid = exponents(settings.grid)
        self._chooser = Chooser(run.modules, self._roundings, self._scalers, grid)
        self._pair_of = {path: pair for pair in pairs for path in pair.readers}
        self._columns: dict[str, np.ndarray] = {}
        self._to_divide = {pair.scaler for pair in pairs if pair.kind == ROWS}
        self._waiting: dict[str, tuple[list[Affine], list[int], Moved]] = {}

    def go(self, progress: Progress) -> None:
        """Every block; raises ForgeError that names the layer whose inputs are not finite."""
        done, block, told = 0, -1, 0
        recalled: Any = None
        for stage in self._stages:
            if self._run.index != block:
                if block >= 0 and recalled is None:
                    self._close(block, told)
                block, told = self._run.index, len(self.notes)
                recalled = self._journal.recall(block)
                self.notes += recalled or []
            if recalled is None:
                self._stage(stage)
            done += len(stage)
            progress(done, len(self._roundings), "layers")
        if block >= 0 and recalled is None:
            self._close(block, told)

    def _close(self, block: int, told: int) -> None:
        for path in list(self._waiting):  # no reader of theirs comes any more
            self._journal.add(path, *self._waiting.pop(path))
        self._journal.close(block, self.notes[told:])

    def _stage(self, stage: Stage) -> None:
        inputs = self._inputs(stage[0])
        pairs = {pair.scaler: pair for path in stage if (pair := self._pair_of.get(path))}
        fresh: set[str] = set()
        for pair in pairs.values():
            fresh.update(pair.readers)
            self._choose(pair, stage, inputs)
        for path in stage:
            by = self._columns.pop(path, None)
            mine = inputs if by is None or path not in fresh else _divided(inputs, by)
            self._round(path, mine, by)

    def _inputs(self, path: str) -> Importance:
        """Mean squares of what comes into a layer."""
        experts = expert_count(self._run.modules[path])
        total, tokens = np.zeros(()), np.zeros((), np.int64)

        def look(given: Given) -> tuple[np.ndarray, np.ndarray]:
            return sums_of(given.x, given.chosen, experts)

        for sums, count in self._stages.seen(path, look):
            total, tokens = total + sums, tokens + count
        check_inputs(path, total)
        return means_of(total, tokens)

    def _choose(self, pair: Pair, stage: Stage, inputs: Importance) -> None:
        """The scales of ``pair``, which has a reader in ``stage``; its scaler is divided."""
        for path in pair.readers:
            del self._pair_of[path]
        here = next(path for path in stage if path in pair.readers)
        choice = self._chooser.choose(pair, here, inputs)
        self.notes.append(
            {"scaler": pair.scaler, "readers": [*pair.readers], "exponents": choice.exponents}
        )
        if not choice.moves:
            return
        self._scalers.divide(pair, choice.scales)
        if pair.kind == ROWS:
            entries, unknown, moved = self._waiting[pair.scaler]
            rows = np.broadcast_to(choice.scales, (len(entries), choice.scales.shape[-1]))
            entries = [divided(entry, by) for entry, by in zip(entries, rows, strict=True)]
            fix_weight(self._run.modules[pair.scaler], entries)
            moved = replace(moved, rows=(1 / rows).astype(np.float32))
            self._waiting[pair.scaler] = entries, unknown, moved
        for path in pair.readers:
            by = columns_of(pair, path, choice.scales)
            if path in self._roundings:
                self._columns[path] = by
            else:
                self._scalers.multiply(path, by)

    def _round(self, path: str, inputs: Importance, by: np.ndarray | None) -> None:
        """A layer's codes, from now on used; its columns multiplied ``by`` [columns], or
        [experts, columns]."""
        module = self._run.modules[path]
        experts = expert_count(module)
        entries, unknown = [], []
        for number in range(max(experts, 1)):
            importance, means = inputs.of(number), inputs.means_of(number)
            if importance is None and experts:
                unknown.append(number)
            weight = self._chooser.weight(path, number if experts else None)
            if by is not None:
                weight = weight * mx.array(by[number] if by.ndim == 2 else by)
            entries.append(_rounded(weight, importance, means, self._roundings[path]))
        fix_weight(module, entries)
        moved = UNMOVED if by is None else Moved(columns=by.astype(np.float32))
        if path in self._to_divide:
            self._waiting[path] = entries, unknown, moved
        else:
            self._journal.add(path, entries, unknown, moved)


def _rounded(
    weight: mx.array, importance: mx.array | None, means: mx.array | None, rounding: Rounding
) -> Affine:
    """All rows, on all cores; evaluated."""
    mx.eval([each for each in (weight, importance, means) if each is not None])
    jobs = [
        partial(_rows_rounded, weight, start, importance, means, rounding)
        for start in range(0, len(weight), ROWS_AT_ONCE)
    ]
    found = list(in_order(jobs, workers()))
    return joined(found)


def _rows_rounded(
    weight: mx.array,
    start: int,
    importance: mx.array | None,
    means: mx.array | None,
    rounding: Rounding,
) -> Affine:
    return rounding.round(weight[start : start + ROWS_AT_ONCE], importance, means)


def _divided(inputs: Importance, by: np.ndarray) -> Importance:
    """Of inputs divided ``by`` [columns] or [experts, columns]."""
    squares = (inputs.columns / np.square(by)).astype(np.float32)
    means = None if inputs.means is None else (inputs.means / by).astype(np.float32)
    return Importance(squares, inputs.tokens, means)
