"""A quantized model beside its source: the batches that both are given, and what is to be trained.

Windows are dealt to batches once. Those that nothing has learned from judge: neither this training,
nor what made the quantized model. Where the text has no such windows, one in eight is held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import PROBE, Blocks, find_blocks
from mlxforge.calibrate.distill.anchor import Anchor, Anchors
from mlxforge.calibrate.distill.student import Layers, Values, norm_tensors, trainable_paths
from mlxforge.calibrate.observe import observed
from mlxforge.calibrate.shuffled import permutation
from mlxforge.calibrate.windows import HELD_OUT, Windows
from mlxforge.errors import ForgeError
from mlxforge.models.scoring.leaves.fixed import expert_count, weight_of
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.threads import Lanes
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.moved import UNMOVED, Moved

__all__ = ["Batches", "Pair", "Stage", "deal"]

NOTHING: Mapping[str, Moved] = {}
PART_TOKENS = 512  # of a batch, for one core at a time


@dataclass(frozen=True)
class Batches:
    """int32 [windows, length] each; the first ``training`` of them train, the others judge."""

    tokens: tuple[mx.array, ...]
    training: int

    @property
    def held_out(self) -> range:
        return range(self.training, len(self.tokens))


def deal(windows: Windows, batch_size: int) -> Batches:
    """What is ``learned`` from, dealt by chance, and what is held out; where that is nothing, every
    eighth of the former (the last one of fewer) judges, and does not train."""
    training, held_out = windows.learned, windows.held_out
    if not len(held_out):
        training, held_out = _parted(training)
    training = training[permutation(len(training), 0)]
    cut = [
        [mx.array(part[at : at + batch_size]) for at in range(0, len(part), batch_size)]
        for part in (training, held_out)
    ]
    return Batches((*cut[0], *cut[1]), len(cut[0]))


def _parted(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(windows)
    if count < 2:
        raise ForgeError(
            f"dwq needs 2 windows, one to train on and one to judge by; the text gives {count}",
            "use a longer text, or a smaller sequence_length",
            key="samples",
        )
    judges = np.arange(count) % HELD_OUT == min(HELD_OUT, count) - 1
    return windows[~judges], windows[judges]


@dataclass(frozen=True)
class Stage:
    """What is trained together: a block, by its number, or what lies behind the last one."""

    number: int
    name: str
    paths: tuple[str, ...]
    norms: tuple[str, ...]


class Pair:
    """``tensors`` are those of the quantized model's files, ``importances`` what comes into the
    source's layers, ``moved`` the scales that layers were given before they were rounded; ``lanes``
    are as many as there are cores, unless there is room for fewer."""

    def __init__(
        self,
        source: nn.Module,
        student: nn.Module,
        tensors: Mapping[str, Rows],
        batches: Batches,
        importances: Mapping[str, Importance],
        moved: Mapping[str, Moved] = NOTHING,
        lanes: Lanes | None = None,
    ) -> None:
        self.batches = batches
        self.lanes = lanes or Lanes()
        probe = batches.tokens[0][:1, :PROBE]
        self.source, self.student = Blocks(source, probe), Blocks(student, probe)
        self.whole = self.source.whole or self.student.whole
        self.student_root: nn.Module = getattr(student, "whole", student)
        self.modules: dict[str, nn.Module] = dict(self.student_root.named_modules())
        self.source_root: nn.Module = getattr(source, "whole", source)
        self.source_modules: dict[str, nn.Module] = dict(self.source_root.named_modules())
        self._tensors, self._importances, self._moved = tensors, importances, moved
        self.stages = tuple(self._stages(student, probe))

    def layers(self, stage: Stage, norms: bool, values: Values | None = None) -> Layers:
        """What is trained in ``stage``, which experts that saw too few tokens are not; with
        ``values`` as they were left by a run before."""
        dtypes = {name: getattr(mx, self._tensors[name].dtype) for name in stage.norms if norms}
        known = {path: self._importances[path] for path in stage.paths if path in self._importances}
        still = {path: importance.unknown() for path, importance in known.items()}
        return Layers(self.modules, stage.paths, dtypes, values, still)

    def parts(self, batch: int, *states: Any) -> list[tuple[int, mx.array, list[Any]]]:
        """A batch's tokens, and ``states`` that belong to them, in pieces that may be run side by
        side, always cut alike; before each how many windows it has."""
        tokens = self.batches.tokens[batch]
        cut = all(state is None or isinstance(state, mx.array) for state in states)
        step = max(1, PART_TOKENS // tokens.shape[1]) if cut and self.lanes.on_cpu else len(tokens)
        found = []
        for at in range(0, len(tokens), step):
            part = slice(at, at + step)
            mine = [state[part] if isinstance(state, mx.array) else state for state in states]
            found.append((len(tokens[part]), tokens[part], mine))
        return found

    def passed(self, blocks: Blocks, index: int, batch: int, state: Any) -> Any:
        """What block ``index`` makes of a batch for which it is given ``state``; evaluated."""
        parts = self.parts(batch, state)
        jobs = (partial(blocks.run, index, tokens, mine) for _, tokens, (mine,) in parts)
        found = list(self.lanes.each(jobs))
        if len(found) == 1:
            return found[0]
        if all(isinstance(value, mx.array) for value in found):
            return mx.concatenate(found)
        found = blocks.run(index, self.batches.tokens[batch], state)  # not to be put together
        mx.eval(found)
        return found

    def anchors(self, layers: Mapping[int, Layers]) -> Anchors:
        """What holds the weights of ``layers``, by the number of their stage, to the source's."""
        found = {}
        for stage in self.stages:
            for path in stage.paths if stage.number in layers else ():
                module, known = self.source_modules[path], self._importances.get(path)
                moved = self._moved.get(path, UNMOVED)
                stacked = expert_count(module) > 0
                for number, layer in layers[stage.number].weights(path).items():
                    importance = moved.importance(known.of(number) if known else None, number)
                    weight = moved.weight(weight_of(module, number if stacked else None), number)
                    found[f"{path}/{number}"] = Anchor(layer, weight, importance)
        return Anchors(found)

    def _stages(self, student: nn.Module, probe: mx.array) -> Iterator[Stage]:
        paths = trainable_paths(self.modules)
        norms = [name for name in norm_tensors(self.modules) if name in self._tensors]
        if self.whole:
            yield Stage(0, "the model", tuple(paths), tuple(norms))
            return
        left = {path: self.modules[path] for path in paths}
        left |= {name: self.modules[name.removesuffix(".weight")] for name in norms}
        blocks = find_blocks(student)
        for number, (path, block) in enumerate(blocks):
            inside = {id(module) for module in block.modules()}
            mine = [name for name, module in left.items() if id(module) in inside]
            for name in mine:
                del left[name]
            yield _stage(number, path, mine, norms)
        behind = self._behind(probe, [path for path in paths if path in left])
        yield _stage(len(blocks), "the head", [*behind, *(n for n in norms if n in left)], norms)

    def _behind(self, probe: mx.array, paths: Sequence[str]) -> list[str]:
        """Which of the layers at ``paths`` the model comes to after its last block."""
        state = None
        for index in range(len(self.student)):
            state = self.student.run(index, probe, state)
        met: list[str] = []
        with observed(self.student_root, paths, lambda path, x, chosen: met.append(path)):
            self.student.run(len(self.student), probe, state)
        return list(dict.fromkeys(met))


def _stage(number: int, path: str, names: Sequence[str], norms: Sequence[str]) -> Stage:
    paths = tuple(name for name in names if name not in norms)
    return Stage(number, path, paths, tuple(name for name in names if name in norms))
