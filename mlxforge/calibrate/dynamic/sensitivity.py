"""How much worse a model becomes by each of its layers alone, measured on what it says.

For each layer: the divergence KL(source || variant) of next-token distributions, in nats, the mean
over the tokens of a few windows, where the variant is the source with this layer quantized. It is
*measured* at the widths ``PROBES``: at 3 bits it stands well clear of noise and is still small
enough to be proportional to the squared error, at 2 bits it often is not. To the other widths it is
*scaled* from 3 bits by that error, weighted by the layer's inputs, which is exact for each width
(see ``rounding``): on a trained model most are within a fifth of what is measured at 4 bits, the
worst half as much again. Of layers that are used in several places, such as embeddings
that are the head as well, all uses count; stacked experts are one layer.

A variant differs from the source from its layer's block on. So block by block the variants of its
layers are made, carried through the blocks after it side by side, and compared at the end. Memory
holds what a few variants hand on and, of a model that does not fit, a few parts of its weights.
Waves of variants run at the same time, each product of matrices in one thread: so the numbers do
not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import PROBE, Blocks
from mlxforge.calibrate.dynamic.ends import Ends
from mlxforge.calibrate.dynamic.records import Sensitivity
from mlxforge.calibrate.dynamic.rounding import Rounder
from mlxforge.calibrate.finite import OVERFLOWS, check_inputs
from mlxforge.calibrate.observe import observed
from mlxforge.calibrate.states import joinable, joined, part, parted
from mlxforge.errors import ForgeError
from mlxforge.models.layers.table import Layer
from mlxforge.models.scoring.leaves.remembered import remembered
from mlxforge.models.scoring.leaves.supply import Supply
from mlxforge.models.scoring.leaves.swapped import PackedMatrix, swapped
from mlxforge.models.threads import Lanes, one_thread_per_product
from mlxforge.progress import Progress
from mlxforge.recipe.methods import PROBED_TOKENS

__all__ = ["LENGTH", "PROBES", "measure_sensitivities", "probe_windows"]

PROBES = (3, 2)  # bits
LENGTH = 128  # tokens of a window, at most
WAVE_TOKENS = 2048  # that a block is given at once
CARRIED_BYTES = 256 << 20  # of what the variants that are carried together hand on


Found = dict[str, Sensitivity]
Kept = Callable[[str, Callable[[], Found]], Found]
"""What was found under a name before, or else is found now."""


def probe_windows(windows: np.ndarray) -> np.ndarray:
    """Of a calibration text's windows, int32 [samples, length], a few that lie evenly in it, cut
    to ``LENGTH``: ``PROBED_TOKENS`` in all, where there are as many."""
    length = min(LENGTH, windows.shape[1])
    count = min(len(windows), max(1, PROBED_TOKENS // length))
    places = np.arange(count) * len(windows) // count
    return windows[places, :length]


def measure_sensitivities(
    model: nn.Module,
    layers: Sequence[Layer],
    windows: np.ndarray,
    rounder: Rounder,
    kept: Kept,
    progress: Progress,
) -> Found:
    """The sensitivities of ``layers``, by path, over ``windows`` (int32 [windows, length]).

    Layers that no token comes to are left out. ``model`` has its weights in float32, read where
    they are used. Raises ForgeError that names the layer whose inputs are not finite, or which
    makes the model's answers infinite or NaN.
    """
    root = getattr(model, "whole", model)  # of a model that sees, paths are those of all of it
    with one_thread_per_product(), remembered(root):
        run = _Run(model, layers, windows, rounder, progress)
        found: Found = {}
        for name, chunk in run.chunks():
            found |= kept(name, partial(run.measure, chunk))
            run.passed(chunk)
    return found


@dataclass(frozen=True)
class _Chunk:
    """Layers that are first used in block ``start``."""

    start: int
    layers: tuple[Layer, ...]


@dataclass
class _Variant:
    layer: Layer
    bits: int
    module: nn.Module
    matrix: PackedMatrix
    uses: frozenset[int]
    state: Any = None


class _Run:
    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        windows: np.ndarray,
        rounder: Rounder,
        progress: Progress,
    ) -> None:
        self._tokens = mx.array(windows)
        self._root = getattr(model, "whole", model)
        modules = dict(self._root.named_modules())
        self._modules = {layer.path: modules[layer.path] for layer in layers}
        self._layers = list(layers)
        self._rounder, self._progress = rounder, progress
        self._blocks = Blocks(model, self._tokens[:1, :PROBE])
        self._passing = Supply(0)  # keeps nothing of a variant
        self._lanes = Lanes()
        self._count = 0 if self._blocks.whole else len(self._blocks)
        self._uses: dict[str, set[int]] = {}
        self._clean: Any = None  # what the source's block before the one in hand hands on
        self._at = 0
        last = self._first_pass()
        self._ends = Ends(self._blocks, self._tokens, last, self._lanes)
        self._done = 0
        self._total = sum(self._runs(uses) for uses in self._uses.values())

    def chunks(self) -> Iterator[tuple[str, _Chunk]]:
        """All layers that are used, cut so that what their variants hand on is bounded."""
        each = max(1, self._ends.bytes) * len(PROBES)
        most = max(1, CARRIED_BYTES // each) if self._count else 1
        for start in range(self._count + 1):
            here = [e for e in self._layers if min(self._uses.get(e.path, {-1})) == start]
            for first in range(0, len(here), most):
                yield f"{start:05d}-{first:05d}", _Chunk(start, tuple(here[first : first + most]))

    def passed(self, chunk: _Chunk) -> None:
        self._done += sum(self._runs(self._uses[layer.path]) for layer in chunk.layers)
        self._tell(0)

    def measure(self, chunk: _Chunk) -> Found:
        while self._at < chunk.start:
            self._clean = self._step(self._at, self._clean)
            self._at += 1
        errors, variants = {}, []
        for layer in chunk.layers:
            module = self._modules[layer.path]
            rounded = self._rounder.round(layer, module, PROBES)
            errors[layer.path] = rounded.errors
            uses = frozenset(self._uses[layer.path])
            variants += [
                _Variant(layer, bits, module, rounded.packed[bits], uses, self._clean)
                for bits in PROBES
            ]
        ran = 0
        for index in range(chunk.start, self._count):
            self._carry(variants, index)
            ran += len(variants)
            self._tell(ran)
        nats = self._ends.divergences([self._ending(variant) for variant in variants])
        measured: dict[str, dict[int, float]] = {path: {} for path in errors}
        for variant, value in zip(variants, nats, strict=True):
            measured[variant.layer.path][variant.bits] = _finite(variant, value)
        return {path: Sensitivity(measured[path], errors[path]) for path in errors}

    def _first_pass(self) -> Any:
        """What the last block of the source hands on; and by the way, where each layer is used."""

        def tell(path: str, x: mx.array, chosen: mx.array | None) -> None:
            self._uses.setdefault(path, set()).add(self._at)
            check_inputs(path, np.asarray(x.astype(mx.float32)))

        state = None
        with observed(self._root, self._modules, tell):
            for index in range(self._count):
                self._at = index
                state = self._step(index, state)
            self._at = self._count
            mx.eval(self._blocks.run(self._count, *self._first(state)))
        self._at = 0
        for layer in self._layers:
            if layer.role == "embeddings":  # tokens are turned into states anew for every block
                self._uses[layer.path] = set(range(self._count + 1))
        return state

    def _first(self, state: Any) -> tuple[mx.array, Any]:
        """The last run, over no more than is needed to see which layers it uses."""
        if self._blocks.whole or joinable(state, *self._tokens.shape):
            return self._tokens[:1, :PROBE], part(state, 0, 0, PROBE)
        return self._tokens, state

    def _step(self, index: int, state: Any) -> Any:
        found = self._blocks.run(index, self._tokens, state)
        mx.eval(found)
        return found

    def _carry(self, variants: Sequence[_Variant], index: int) -> None:
        """Every variant through a block: those whose layer is used there one by one."""
        together: list[_Variant] = []
        for variant in variants:
            if index not in variant.uses and joinable(variant.state, *self._tokens.shape):
                together.append(variant)
                continue
            with ExitStack() as stack:
                if index in variant.uses:
                    stack.enter_context(swapped(variant.module, variant.matrix, self._passing))
                variant.state = self._step(index, variant.state)
        most = max(1, WAVE_TOKENS // self._tokens.size)
        waves = [together[first : first + most] for first in range(0, len(together), most)]
        jobs = (partial(self._pass, index, [entry.state for entry in wave]) for wave in waves)
        for wave, states in zip(waves, self._lanes.each(jobs), strict=True):
            for variant, state in zip(wave, states, strict=True):
                variant.state = state

    def _pass(self, index: int, states: Sequence[Any]) -> list[Any]:
        """Through a block as it is, together."""
        tokens = mx.concatenate([self._tokens] * len(states))
        return parted(self._blocks.run(index, tokens, joined(states)), len(states))

    def _ending(self, variant: _Variant) -> tuple[Any, Callable[[], Any]]:
        def quantized() -> Any:
            return swapped(variant.module, variant.matrix, self._passing)

        return variant.state, quantized if self._count in variant.uses else ExitStack

    def _runs(self, uses: set[int]) -> int:
        return len(PROBES) * (self._count + 1 - min(uses))

    def _tell(self, more: int) -> None:
        self._progress(self._done + more, self._total, "runs")


def _finite(variant: _Variant, nats: float) -> float:
    if not np.isfinite(nats):
        what = f"{variant.layer.path} in {variant.bits} bits"
        raise ForgeError(
            f"{what} makes the model's answers infinite or NaN",
            f"{OVERFLOWS} A rule for this layer's bits leaves it out of the choice",
        )
    return nats
