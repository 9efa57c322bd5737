"""A step imports what it needs: model code, which takes as long as searching a small model does,
only where a model is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlxforge.calibrate.statistics import write_statistics
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.quantize import Quantize
from tests.checkpoints import PLAIN, write

PROBE = """\
import json, sys
from mlxforge.steps.worker import run_job
run_job(json.load(sys.stdin), lambda done, total, unit: None)
heavy = ("mlx_lm", "mlx_vlm", "transformers", "tokenizers", "huggingface_hub", "pyarrow")
print("HEAVY", sorted(name for name in heavy if name in sys.modules))
"""


@pytest.mark.parametrize("scales", ["minmax", "search"])
def test_rounding_imports_no_model_code(tmp_path: Path, scales: str) -> None:
    source, layers, calibration, out = (tmp_path / n for n in ("source", "layers", "cal", "out"))
    write(PLAIN["llama"](), source)
    for folder in (layers, calibration, out):
        folder.mkdir()
    Inspect().run({"source": source}, layers, lambda *_: None)
    windows = np.random.default_rng(0).integers(3, 250, size=(8, 32)).astype(np.int32)
    table = Inspection(layers).table
    write_statistics(load_for_scoring(source), table, windows, calibration, lambda *_: None)
    inputs = {"source": source, "layers": layers}
    if scales == "search":
        inputs["calibration"] = calibration
    step = Quantize.of(Wanted("rtn", 4, 32, "affine", scales, None, "none"))
    job = {
        "kind": step.kind,
        "parameters": step.parameters(),
        "inputs": {name: str(path) for name, path in inputs.items()},
        "out": str(out),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE], input=json.dumps(job), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")
    assert (out / "model.safetensors").is_file()
