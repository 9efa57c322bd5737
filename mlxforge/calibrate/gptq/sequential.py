"""Quantizing layer by layer, each on what the layers before it make once they are quantized.

Embeddings come first, so that all layers are fitted to what they will be; one that is the head as
well by what comes into the source's head.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.gptq.codes import Codes
from mlxforge.calibrate.gptq.solver import Solver
from mlxforge.calibrate.run import Run
from mlxforge.calibrate.shelf import Shelf
from mlxforge.calibrate.stages import Stages
from mlxforge.models.scoring.leaves.fixed import fix_weight, has_matrix, weight_of
from mlxforge.progress import Progress
from mlxforge.quantize.affine import Affine

__all__ = ["quantize_in_sequence"]


def quantize_in_sequence(
    model: nn.Module,
    source: nn.Module,
    windows: np.ndarray,
    heads: Mapping[str, np.ndarray],
    solver: Solver,
    codes: Codes,
    progress: Progress,
    shelf: Shelf | None = None,
) -> None:
    """Quantize the layers of ``model`` that ``solver`` can solve; weights are float32, as are those
    of ``source``: the same once more, which stays as it is.

    ``windows`` is int32 [samples, length]. ``heads``: by the paths of heads, or of embeddings whose
    weight a head has too, the mean of x x^T over what comes into it, [columns, columns]. Layers
    whose ``codes`` are known are not solved again: the windows only pass them. Between blocks they
    are on ``shelf``. Raises ForgeError that names the layer whose inputs are not finite.
    """
    run = Run(model, solver.paths, windows, source, shelf)
    first = [path for path in solver.embeddings if has_matrix(run.modules[path])]
    done: set[str] = set()

    def finish(path: str, entries: list[Affine], known: bool) -> None:
        modules = [path, *codes.copies.get(path, ())]
        keep = run.shelf.spare_on_disk if path in first else run.shelf.spare
        for each in modules:
            if has_matrix(run.modules[each]):
                fix_weight(run.modules[each], entries, keep)
        if not known:
            codes.keep(path, entries)
        done.update(modules)
        progress(len(done), len(solver.paths), "layers")

    def weigh(path: str) -> mx.array:
        return solver.cast(path, weight_of(run.modules[path]))

    for path in first:
        entries = codes.recall(path)
        known = entries is not None
        if entries is None:
            entries = [solver.solve_embeddings(path, run.modules[path], heads.get(path))]
        finish(path, [*entries], known)
    stages = Stages(run)
    with run.ready():
        for stage in stages:
            missing = []
            for path in stage:
                if path in done:
                    continue
                if (entries := codes.recall(path)) is not None:
                    finish(path, [*entries], known=True)
                else:
                    missing.append(path)
            solved: dict[str, list[Affine]] = {path: [] for path in missing}
            for expert, hessian in stages.inputs(stage, missing, weigh) if missing else ():
                weights = {path: weight_of(run.modules[path], expert) for path in missing}
                found = solver.solve(weights, expert, hessian)
                del weights, hessian  # in memory for no longer than they are needed
                for path, entry in found.items():
                    solved[path].append(entry)
            for path, mine in solved.items():
                finish(path, mine, known=False)
