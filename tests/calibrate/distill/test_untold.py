"""What calibration told nothing of is not trained, and the finished model says so."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.importances import read_importances
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.calibrate.windows import Windows
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.quantize import Quantize
from tests.calibrate.distill.common import PLAIN as SETTINGS
from tests.calibrate.distill.common import quiet, rounded
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

RANDOM = np.random.default_rng(7)
WINDOWS = Windows(*(RANDOM.integers(0, 500, size=(n, 24)).astype(np.int32) for n in (5, 8)))


def trained(name: str, root: Path) -> tuple[dict[str, mx.array], dict[str, mx.array], Any]:
    """Of an architecture in 3 bits, tensors before and after training, and ``mlxforge.json``."""
    source = write({**PLAIN, **HYBRID}[name](), root / "source")
    rounded(source, root)
    inputs = {kind: root / kind for kind in ("source", "start", "layers", "calibration")}
    for kind in ("calibration", "chosen", "checkpoints", "model"):
        (root / kind).mkdir()
    WINDOWS.write(inputs["calibration"])
    table = Inspection(inputs["layers"]).table
    model = load_for_scoring(source, exact=True)
    write_statistics(model, table, WINDOWS.learned, inputs["calibration"], quiet)
    step = Dwq("dwq", 3, 64, **SETTINGS, iterations=12, batch_size=2, learning_rate=0.02)
    step.run({**inputs, "checkpoints": root / "checkpoints"}, root / "chosen", quiet)
    made = replace(Quantize("dwq", 3, 64, **SETTINGS), scales="search")
    inputs = {**inputs, "chosen": root / "chosen"}
    made.run(inputs, root / "model", quiet)
    before, after = (
        dict(mx.load(str(root / folder / "model.safetensors"))) for folder in ("start", "model")
    )
    return before, after, json.loads((root / "model" / "mlxforge.json").read_bytes())["layers"]


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_experts_that_saw_too_few_tokens_stay_as_they_are(name: str, tmp_path: Path) -> None:
    before, after, layers = trained(name, tmp_path)
    table = Inspection(tmp_path / "layers").table
    found = read_importances(tmp_path / "calibration", table)
    few = {path: entry.unknown() for path, entry in found.items() if entry.unknown()}
    said = {path: entry.get("experts_without_calibration") for path, entry in layers.items()}
    assert few and few == {path: experts for path, experts in said.items() if experts}
    moved = set()
    for path, part in product(few, ("scales", "biases")):
        pairs = zip(before[f"{path}.{part}"], after[f"{path}.{part}"], strict=True)
        changed = {number for number, pair in enumerate(pairs) if not mx.array_equal(*pair)}
        assert not changed & {*few[path]}
        moved |= {(path, number) for number in changed}
    assert moved


def test_layers_that_nothing_was_led_through_are_told(tmp_path: Path) -> None:
    """deepseek_v3 has projections of a class of their own."""
    before, after, layers = trained("deepseek_v3", tmp_path)
    untold = {path for path, entry in layers.items() if entry.get("without_calibration")}
    assert {path.rpartition(".")[2] for path in untold} == {"embed_q", "unembed_out"}
    for path in untold:
        assert mx.array_equal(before[f"{path}.scales"], after[f"{path}.scales"])
