"""Too little memory for what a method learns is told before it begins, with what would fit."""

from __future__ import annotations

import re

import pytest

from mlxforge.calibrate.memory import check_room, learning_bytes
from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.source.load import load_source
from tests.checkpoints import PLAIN, write


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LayerTable:
    source = write(PLAIN["llama"](), tmp_path_factory.mktemp("m") / "llama")
    traced = load_source(source)
    return inspect_model(traced.model, traced.config)


def test_the_samples_that_are_named_fit_and_one_more_does_not(table: LayerTable) -> None:
    free = learning_bytes(table, 37 * 512) + 5
    check_room("gptq", table, 37, 512, free)
    with pytest.raises(ForgeError, match=r"gptq needs about .+ for 128 samples of 512") as told:
        check_room("gptq", table, 128, 512, free)
    assert told.value.hint == "calibrate: {samples: 37} fits"
    fitting = int(re.findall(r"\d+", told.value.hint)[0])
    with pytest.raises(ForgeError):
        check_room("gptq", table, fitting + 1, 512, free)


def test_a_layer_that_does_not_fit_alone_is_told_as_that(table: LayerTable) -> None:
    with pytest.raises(ForgeError) as told:
        check_room("gptq", table, 1, 16, 1000)
    assert told.value.hint and "its widest layer alone does not fit" in told.value.hint
