"""The step awq on a checkpoint, with all that it is given, and models of what it has chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

from mlxforge.calibrate.statistics import write_statistics
from mlxforge.models.layers.inspect import inspect_source
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.progress import Progress
from mlxforge.steps.awq import Awq
from mlxforge.steps.heads import Heads
from mlxforge.steps.pairs import FindPairs
from mlxforge.steps.quantize import Quantize
from tests.checkpoints import PLAIN
from tests.checkpoints.hybrid import HYBRID

TEXT = {**PLAIN, **HYBRID}
WINDOWS = np.random.default_rng(3).integers(0, 500, size=(3, 64)).astype(np.int32)
PLAINLY = Quantize("rtn", 4, 32, "affine", "minmax", None, "none")
GIVEN = ("layers", "pairs", "calibration", "heads")
SCALED = Awq("awq", 4, 32, "affine", "search", None, "none", grid=5)


def quiet(done: int, total: int, unit: str) -> None: ...


def choose(
    step: Awq,
    source: Path,
    root: Path,
    windows: np.ndarray = WINDOWS,
    progress: Progress = quiet,
    taught: Path | None = None,
) -> Path:
    """What the step leaves, beside what it is given, below ``root``; ``taught``: the source of what
    it is given, if that is another."""
    for name in (*GIVEN, "checkpoints", "chosen"):
        (root / name).mkdir(parents=True, exist_ok=True)
    inspect_source(source, root / "layers")
    np.save(root / "calibration" / "tokens.npy", windows)
    FindPairs().run({"source": source}, root / "pairs", quiet)
    inputs = {name: root / name for name in GIVEN} | {"source": source}
    model, table = load_for_scoring(taught or source, exact=True), Inspection(root / "layers").table
    write_statistics(model, table, windows, root / "calibration", quiet)
    if not (root / "heads" / "chosen.json").is_file():
        apart = root / "heads-checkpoints"
        apart.mkdir()
        Heads.of(step.wanted()).run({**inputs, "checkpoints": apart}, root / "heads", quiet)
    inputs["checkpoints"] = root / "checkpoints"
    step.run(inputs, root / "chosen", progress)
    return root / "chosen"


def build(step: Quantize, source: Path, root: Path, **more: Path) -> Path:
    """The finished model, of what lies below ``root``."""
    out = root / f"model-{step.method}"
    out.mkdir()
    step.run({"source": source, "layers": root / "layers", **more}, out, quiet)
    return out


def logits(folder: Path, tokens: np.ndarray = WINDOWS) -> np.ndarray:
    """In float32, of a folder that mlx_lm loads."""
    load_model(folder, lazy=True, strict=True)
    return np.array(load_for_scoring(folder, exact=True)(mx.array(tokens)))


def notes(chosen: Path) -> Any:
    return json.loads((chosen / "chosen.json").read_bytes())["notes"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
