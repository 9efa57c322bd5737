"""A quantized model beside its source, for the tests of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.calibrate.distill.pair import Pair, deal
from mlxforge.calibrate.distill.solve import Solved
from mlxforge.calibrate.distill.train import train
from mlxforge.calibrate.kept import Kept
from mlxforge.calibrate.windows import Windows
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.streaming.tensors import open_tensors
from mlxforge.recipe.methods import Dwq as Settings
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.quantize import Quantize

WINDOWS = np.random.default_rng(7).integers(0, 500, size=(9, 24)).astype(np.int32)
PLAIN = {"mode": "affine", "scales": "minmax", "dtype": None, "refine": "none"}


def quiet(done: int, total: int, unit: str) -> None: ...


def settings(
    iterations: int = 4, rate: float = 0.02, scope: str = "blocks", norms: bool = False
) -> Settings:
    return Settings(iterations, 2, rate, 1.0, scope, norms)


def rounded(source: Path, root: Path, bits: int = 3, rules: Any = ()) -> Path:
    """The model rounded to nearest, with its layer table beside it in ``layers``."""
    start, layers = root / "start", root / "layers"
    for folder in (start, layers):
        folder.mkdir(parents=True)
    Inspect().run({"source": source}, layers, quiet)
    step = Quantize("rtn", bits, 64, **PLAIN, overrides=rules)
    step.run({"layers": layers, "source": source}, start, quiet)
    return start


def pair_of(source: Path, start: Path, windows: np.ndarray = WINDOWS) -> Pair:
    models = [load_for_scoring(folder, keep=False, exact=True) for folder in (source, start)]
    return Pair(
        models[0], models[1], open_tensors(start), deal(Windows(windows, windows[:0]), 2), {}
    )


def trained(source: Path, start: Path, wanted: Settings, kept: Path) -> dict[int, Solved]:
    kept.mkdir(exist_ok=True)
    return train(pair_of(source, start), wanted, Kept(kept), quiet)
