"""Too little memory for what a method learns is told before it begins, with what would fit."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.memory import lanes_for, room_for_states, shelf_for
from mlxforge.calibrate.needs import NEEDS, learning_bytes, shelf_bytes, states_bytes
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.table import Layer, LayerTable, Tensor
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_source
from mlxforge.models.threads import Lanes
from mlxforge.models.writing.parallel import cores
from tests.checkpoints import PLAIN, write


def layer(path: str, role: str, *shape: int) -> Layer:
    weight = Tensor(f"{path}.weight", "bfloat16", shape, casts=True)
    return Layer(path, "Linear", role, True, True, (weight,))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LayerTable:
    source = write(PLAIN["llama"](), tmp_path_factory.mktemp("m") / "llama")
    traced = load_source(source)
    return inspect_model(traced.model, traced.config)


@pytest.mark.parametrize("kind", ["gptq", "dwq"])
def test_the_samples_that_are_named_fit_and_one_more_does_not(kind: str, table: LayerTable) -> None:
    free, disk = 10 << 20, 30_000_000
    room = room_for_states(kind, table, 8, 512, free, disk)
    assert 0 < room < free
    with pytest.raises(
        ForgeError, match=rf"{kind} needs about .+ for what 99999 samples of 512"
    ) as e:
        room_for_states(kind, table, 99_999, 512, free, disk)
    fitting = int(re.findall(r"\d+", e.value.hint or "")[0])
    assert e.value.hint == f"calibrate: {{samples: {fitting}}} fits"
    room_for_states(kind, table, fitting, 512, free, disk)
    with pytest.raises(ForgeError):
        room_for_states(kind, table, fitting + 1, 512, free, disk)


@pytest.mark.parametrize("kind", ["gptq", "awq", "dwq", "calibrate", "heads", "sensitivity"])
def test_a_layer_that_does_not_fit_alone_is_told_as_that(kind: str, table: LayerTable) -> None:
    with pytest.raises(ForgeError, match=f"{kind} needs about") as told:
        room_for_states(kind, table, 1, 16, 1000, 1 << 40)
    scales = "minmax" if kind in ("calibrate", "heads") else "search"
    smaller = f"use method: rtn with scales: {scales}"
    if kind == "dwq":
        smaller = "leave refine: dwq out, or take rtn in the place of method: dwq"
    assert told.value.hint == f"{smaller}, or more memory"


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("awq", 0.9e9, 4e9),
        ("gptq", 1.2e9, 4.5e9),
        ("heads", 1e9, 2.5e9),
        ("sensitivity", 0.4e9, 1.5e9),
    ],
)
def test_a_large_vocabulary_is_not_counted_as_if_it_were_scaled(
    kind: str, least: float, most: float
) -> None:
    """Of a model of 3 billion parameters: its tied head has 394 million of them."""

    layers = (
        layer("model.embed_tokens", "embeddings", 128256, 3072),
        layer("model.layers.0.mlp.up_proj", "mlp", 8192, 3072),
        layer("model.layers.0.mlp.down_proj", "mlp", 3072, 8192),
    )
    table = LayerTable("llama", "bfloat16", layers)
    with pytest.raises(ForgeError, match=f"{kind} needs about"):
        room_for_states(kind, table, 0, 0, int(least), 0)
    room_for_states(kind, table, 0, 0, int(most), 0)


def test_training_takes_fewer_cores_where_memory_has_no_room_for_all(table: LayerTable) -> None:
    need = NEEDS["dwq"]
    one, lane = need.bytes(table), need.lane(table)
    assert room_for_states("dwq", table, 0, 0, one, 0) == 0  # one core is enough
    for free, lanes in ((0, 1), (one, 1), (one + 2 * lane - 1, 1), (one + 2 * lane, 2)):
        assert lanes_for("dwq", table, free) == lanes
    assert lanes_for("dwq", table, one + 126 * lane) == 64
    assert Lanes(1).count == 1 and Lanes(10**6).count == Lanes().count == cores()


def test_the_sums_of_every_expert_are_counted(tmp_path: Path) -> None:
    traced = load_source(write(PLAIN["qwen3_moe"](), tmp_path / "moe"))
    table = inspect_model(traced.model, traced.config)
    windows = np.random.default_rng(0).integers(0, 250, size=(2, 32)).astype(np.int32)
    model = load_for_scoring(tmp_path / "moe", exact=True)
    write_statistics(model, table, windows, tmp_path, lambda *_: None)
    found = np.load(tmp_path / "inputs.npy")
    heads = sum(np.load(file).nbytes for file in tmp_path.glob("*.npy")) - found.nbytes
    assert found.dtype == np.float32 and found.nbytes > 30_000
    twice = 2 * 2 * found.nbytes  # in double precision, and a copy
    assert learning_bytes("calibrate", table, 0, 512) >= twice + heads


def test_a_shelf_takes_the_memory_that_a_step_leaves_of_what_it_should_take(
    table: LayerTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = LayerTable("llama", "bfloat16", (layer("model.up_proj", "mlp", 16384, 8192),))
    assert shelf_bytes("gptq", wide) == 16 << 20
    assert shelf_bytes("gptq", table) + NEEDS["gptq"].bytes(table) == 640 << 20
    assert learning_bytes("gptq", table, 9, 11) == 640 << 20
    monkeypatch.setattr("mlxforge.calibrate.needs.TOGETHER", 0)
    monkeypatch.setattr("mlxforge.calibrate.needs.SHELF", 1000)
    windows = np.zeros((4, 512))
    size = states_bytes("gptq", table, *windows.shape)

    def in_memory(disk: int) -> int:
        """Of as many states as there are, where the disk has so much room."""
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=disk))
        with shelf_for("gptq", table, windows, tmp_path) as shelf:
            places = [shelf.put(mx.zeros(size // 16 // 4)) for _ in range(16)]
            return sum(place.file is None for place in places)

    assert in_memory(1 << 40) == 0
    assert in_memory(size // 2) == 8 and in_memory(0) == 16


def test_the_shelf_is_gone_with_what_needed_it(table: LayerTable, tmp_path: Path) -> None:
    with shelf_for("gptq", table, np.zeros((2, 16)), tmp_path) as shelf:
        states = shelf.states(1)
        states[0] = mx.zeros(10)
        assert len([*tmp_path.iterdir()]) == 1
    assert not [*tmp_path.iterdir()]
