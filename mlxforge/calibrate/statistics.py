"""Mean squares of what comes into each layer: how much each column of a weight matters.

The diagonal of the Hessian of a layer's squared error, as llama.cpp's imatrix holds it, and the
means, which are most of what is off it: two numbers per input, taken in one pass of the unquantized
model, and the same for every number of bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.finite import check_inputs
from mlxforge.calibrate.halts import Halts
from mlxforge.calibrate.head import HeadSums
from mlxforge.calibrate.importances import write_importances
from mlxforge.calibrate.kept import Kept
from mlxforge.calibrate.observe import Given
from mlxforge.calibrate.run import Run
from mlxforge.calibrate.shelf import Shelf
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.scoring.leaves.fixed import expert_count
from mlxforge.progress import Progress
from mlxforge.quantize.importance import Importance

__all__ = ["means_of", "measure_inputs", "sums_of", "write_statistics"]


def write_statistics(
    model: nn.Module,
    table: LayerTable,
    windows: np.ndarray,
    folder: Path,
    progress: Progress,
    shelf: Shelf | None = None,
    kept: Kept | None = None,
) -> None:
    """What comes into the layers of ``table`` over ``windows`` (int32 [samples, length]), for
    ``read_importances`` and mlxforge.calibrate.head. What a run before has ``kept`` is taken up."""
    paths = [layer.path for layer in table.layers if layer.quantizable]
    heads = {layer.path for layer in table.layers if layer.role in ("lm_head", "embeddings")}
    sums = HeadSums(table)
    found = measure_inputs(model, paths, windows, progress, heads, sums.add, shelf, kept)
    write_importances(found, folder)
    sums.write(folder)


def measure_inputs(
    model: nn.Module,
    paths: Collection[str],
    windows: np.ndarray,
    progress: Progress,
    heads: Collection[str] = (),
    tell_head: Callable[[str, Given], None] = lambda path, given: None,
    shelf: Shelf | None = None,
    kept: Kept | None = None,
) -> dict[str, Importance]:
    """Run ``model`` over ``windows`` (int32 [samples, length]) and measure the layers at ``paths``.

    Those in ``heads`` come last: the logits, which would be the largest product, are not computed.
    ``tell_head`` is given their paths and what comes into them, wave by wave; ``shelf`` has what
    blocks hand on, and what a run before has ``kept`` is taken up.
    Layers that were given nothing are left out. Raises ForgeError that names the first layer
    whose inputs are not finite. The sums are float64, over waves of a fixed number of windows, so
    that they depend on nothing but model and windows.
    """
    run = Run(model, paths, windows, shelf=shelf)
    experts = {path: expert_count(run.modules[path]) for path in run.paths}
    halts = Halts(kept, {"source": run.states}) if kept else None
    first, known = halts.found() if halts else (0, {})
    sums, tokens = _recalled(known, "sums", np.float64), _recalled(known, "tokens", np.int64)

    def look(
        path: str, x: mx.array, chosen: mx.array | None
    ) -> tuple[np.ndarray, np.ndarray, Given | None]:
        found, count = sums_of(x, chosen, experts[path])
        check_inputs(path, found)
        return found, count, Given(x, chosen) if path in heads else None

    with run.ready():
        begun = first * run.waves
        for done, given in enumerate(run.through(look, heads, first), start=begun + 1):
            for path, (found, count, last) in given:
                sums[path] = sums[path] + found if path in sums else found
                tokens[path] = tokens[path] + count if path in tokens else count
                if last is not None:
                    tell_head(path, last)
            progress(done * windows.size // run.passes, windows.size, "tokens")
            if halts and done % run.waves == 0 and done < run.passes:
                halts.keep(done // run.waves, _noted("sums", sums) | _noted("tokens", tokens))
    return {path: means_of(sums[path], tokens[path]) for path in sums}


def _noted(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, mx.array]:
    """As pairs of 32-bit words: not every device has 64-bit numbers."""
    return {
        f"{kind}/{path}": mx.array(array[None].view(np.uint32)) for path, array in arrays.items()
    }


def _recalled(noted: Mapping[str, mx.array], kind: str, dtype: type) -> dict[str, np.ndarray]:
    start = f"{kind}/"
    return {
        name.removeprefix(start): np.asarray(np.array(pairs).view(dtype)[0])
        for name, pairs in noted.items()
        if name.startswith(start)
    }


def sums_of(x: mx.array, chosen: mx.array | None, experts: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over tokens of the squares of ``x`` [..., columns], and of ``x``: float64 [2, columns],
    or [2, experts, columns] where there are any."""
    columns = x.shape[-1]
    x = x.astype(mx.float32)
    both = mx.stack([mx.square(x), x])
    if not experts or chosen is None:
        flat = both.reshape(2, -1, columns)
        total = np.asarray(flat.sum(axis=1), dtype=np.float64)
        return total, np.array(flat.shape[1], dtype=np.int64)
    batch = np.broadcast_shapes(x.shape[:-2], chosen.shape)
    rows = mx.broadcast_to(both.sum(axis=-2), (2, *batch, columns)).reshape(2, -1, columns)
    owner = np.broadcast_to(np.asarray(chosen), batch).reshape(-1)
    total = np.zeros((2, experts, columns))
    for expert in np.unique(owner):
        mine = mx.array(np.flatnonzero(owner == expert))
        total[:, expert] = np.asarray(rows[:, mine].sum(axis=1), dtype=np.float64)
    return total, np.bincount(owner, minlength=experts).astype(np.int64)


def means_of(total: np.ndarray, tokens: np.ndarray) -> Importance:
    """Of what ``sums_of`` gives."""
    counts = np.maximum(tokens, 1)[..., None] if tokens.ndim else max(int(tokens), 1)
    squares, means = (total / counts).astype(np.float32)
    return Importance(squares, tokens, means)
