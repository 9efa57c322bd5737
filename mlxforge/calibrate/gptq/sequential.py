"""Quantizing layer by layer, each on what the layers before it make once they are quantized."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.hessians import Hessian
from mlxforge.calibrate.run import Run
from mlxforge.models.scoring.leaves.fixed import fix_weight, weight_of
from mlxforge.progress import Progress
from mlxforge.quantize.affine import Affine

__all__ = ["Recall", "Solve", "quantize_in_sequence"]

Solve = Callable[[Mapping[str, mx.array], int | None, Hessian], Mapping[str, Affine]]
"""Weights of layers float32 [rows, columns], the expert that they are of, and what came into all of
them: the codes."""

Recall = Callable[[str], Sequence[Affine] | None]
"""Path of a layer: its codes, where a run before this one has chosen them."""


def quantize_in_sequence(
    model: nn.Module,
    source: nn.Module,
    paths: Collection[str],
    windows: np.ndarray,
    solve: Solve,
    recall: Recall,
    keep: Callable[[str, Sequence[Affine]], None],
    progress: Progress,
) -> None:
    """Quantize the layers at ``paths`` of ``model``, which has its weights in float32, as has
    ``source``: the same once more, which stays as it is.

    ``windows`` is int32 [samples, length]. ``keep`` is given each layer's codes, one entry for a
    plain layer, one per expert for stacked ones; from then on the model uses them. Layers that
    ``recall`` knows are not solved again: the windows only pass them. Raises ForgeError that names
    the layer whose inputs are not finite.
    """
    run = Run(model, paths, windows, source)
    done = 0
    with run.ready():
        for stage in run.stages():
            known = {path: entries for path in stage if (entries := recall(path)) is not None}
            for path, entries in known.items():
                fix_weight(run.modules[path], entries)
            done += len(known)
            missing = [path for path in stage if path not in known]
            solved: dict[str, list[Affine]] = {path: [] for path in missing}
            for expert, hessian in run.inputs(tuple(missing)) if missing else ():
                weights = {path: weight_of(run.modules[path], expert) for path in missing}
                for path, codes in solve(weights, expert, hessian).items():
                    solved[path].append(codes)
            for path, entries in solved.items():
                fix_weight(run.modules[path], entries)
                keep(path, entries)
                done += 1
                progress(done, len(paths), "layers")
