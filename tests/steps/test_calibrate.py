"""What calibrate refuses before it runs the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlxforge.calibrate.windows import Windows
from mlxforge.errors import ForgeError
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.inspect import Inspect
from tests.calibrate.distill.common import quiet
from tests.checkpoints import PLAIN, write

KNOWN = np.zeros((2, 32), np.int32)
BEYOND = np.full((1, 32), 70_000, np.int32)


@pytest.mark.parametrize("windows", [Windows(BEYOND, KNOWN), Windows(KNOWN, BEYOND)])
def test_tokens_beyond_the_vocabulary_are_refused_held_out_or_not(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that is judged by what is held out reads its embeddings, too."""
    folders = {name: tmp_path / name for name in ("layers", "checkpoints", "calibration")}
    for folder in folders.values():
        folder.mkdir()
    source = write(PLAIN["llama"](), tmp_path / "source")
    Inspect().run({"source": source}, folders["layers"], quiet)
    monkeypatch.setattr(Calibrate, "_windows", lambda *_: windows)
    inputs = {"source": source, **folders}
    with pytest.raises(ForgeError, match="token 70000 is beyond the model's vocabulary of"):
        Calibrate.drawn().run(inputs, tmp_path / "calibration", quiet)
