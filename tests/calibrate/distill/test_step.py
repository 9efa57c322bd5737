"""The step on the demo model: from a finished folder to one that is nearer to the source."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.distill.divergence import divergence
from mlxforge.calibrate.importances import write_importances
from mlxforge.calibrate.statistics import measure_inputs
from mlxforge.calibrate.windows import Windows, calibration_windows
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_tokenizer
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.quantize import Quantize
from tests.calibrate.distill.common import PLAIN, quiet, rounded
from tests.conftest import DEMO

SOURCE = DEMO / "model"


def lines(first: bool, root: Path) -> Path:
    """Half of the demo's held-out text."""
    text = (DEMO / "heldout.txt").read_text().splitlines()
    half = len(text) // 2
    path = root / f"{first}.txt"
    path.write_text("\n".join(text[:half] if first else text[half:]))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``start``, the demo in 3 bits, its ``layers``, and a ``calibration``."""
    root = tmp_path_factory.mktemp("demo")
    rounded(SOURCE, root)
    calibration = root / "calibration"
    calibration.mkdir()
    windows = calibration_windows(lines(True, root), load_tokenizer(SOURCE), 24, 64, seed=0)
    windows.write(calibration)
    learned = measure_inputs(load_for_scoring(SOURCE), [], windows.learned, quiet)
    write_importances(learned, calibration)
    return root


def tuned(root: Path, out: Path, iterations: int) -> Path:
    """What the step has chosen."""
    chosen, checkpoints = out / "chosen", out / "checkpoints"
    for folder in (chosen, checkpoints):
        folder.mkdir(parents=True)
    inputs = {name: root / name for name in ("layers", "calibration", "start")}
    step = Dwq("dwq", 3, 64, **PLAIN, iterations=iterations, batch_size=4, learning_rate=0.02)
    step.run({**inputs, "source": SOURCE, "checkpoints": checkpoints}, chosen, quiet)
    return chosen


def mean_divergence(folder: Path, windows: np.ndarray) -> float:
    source, model = load_for_scoring(SOURCE), load_for_scoring(folder)
    tokens = mx.array(windows)
    return float(divergence(source(tokens), model(tokens), 1.0).mean())


def test_it_is_nearer_on_text_that_it_was_not_trained_on(root: Path, tmp_path: Path) -> None:
    chosen = tuned(root, tmp_path, 12)
    folder = tmp_path / "model"
    folder.mkdir()
    inputs = {"layers": root / "layers", "source": SOURCE, "chosen": chosen}
    Quantize("dwq", 3, 64, **PLAIN).run(inputs, folder, quiet)
    text = lines(False, root)
    windows = calibration_windows(text, load_tokenizer(SOURCE), 12, 64, seed=0).learned
    before, after = mean_divergence(root / "start", windows), mean_divergence(folder, windows)
    assert after < 0.75 * before
    start = mx.load(str(root / "start" / "model.safetensors"))
    found = mx.load(str(folder / "model.safetensors"))
    assert found.keys() == start.keys()
    changed = {name for name in start if not mx.array_equal(start[name], found[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"scales", "biases"}
    assert "model.embed_tokens.scales" in changed
    notes = json.loads((chosen / "chosen.json").read_text())["notes"]
    judges = Windows.read(root / "calibration").held_out
    judged = [mean_divergence(model, judges) for model in (root / "start", folder)]
    assert [notes["divergence"][when] for when in ("before", "after")] == pytest.approx(
        judged, rel=1e-3
    )
    assert judged[1] < judged[0]
    assert set(notes["stages"]) == {"the head", *(f"model.layers.{n}" for n in range(3))}


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        found.update(file.read_bytes())
    return found.hexdigest()


def test_one_thread_and_two_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    program = (
        "from mlxforge.models.blas import load_blas; load_blas();"
        "from pathlib import Path; import sys;"
        "from tests.calibrate.distill.test_step import digest, tuned;"
        "print(digest(tuned(Path(sys.argv[1]), Path(sys.argv[2]), 2)))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program, str(root), str(tmp_path / threads)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert found[0] == found[1]
