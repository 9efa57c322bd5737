"""Blocks that are run one by one give what the whole model gives, whatever the architecture."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.blocks import Blocks
from mlxforge.models.scoring.loading import load_for_scoring
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

TEXT = {**PLAIN, **HYBRID}
TOGETHER = {"gemma4"}  # its later layers take keys and values from earlier ones
TOKENS = mx.array(np.random.default_rng(5).integers(0, 500, size=(2, 24)))


@pytest.mark.parametrize("name", TEXT)
def test_block_by_block_gives_the_models_logits(name: str, tmp_path: Path) -> None:
    model = load_for_scoring(write(TEXT[name](), tmp_path / name), exact=True)
    blocks = Blocks(model, TOKENS[:1])
    assert blocks.whole == (name in TOGETHER)
    state = None
    for index in range(len(blocks)):
        state = blocks.run(index, TOKENS, state)
    logits = state if blocks.whole else blocks.run(len(blocks), TOKENS, state)
    assert mx.array_equal(logits, model(TOKENS))
