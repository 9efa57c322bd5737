"""What comes into layers, against plain sums over the model's own activations."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.utils import load_model

from mlxforge.calibrate.head import read_heads
from mlxforge.calibrate.importances import read_importances, write_importances
from mlxforge.calibrate.kept import Kept
from mlxforge.calibrate.statistics import measure_inputs, write_statistics
from mlxforge.calibrate.windows import Windows, drawn_windows
from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_source
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.inspect import Inspect
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

WINDOWS = np.random.default_rng(3).integers(0, 500, size=(5, 48)).astype(np.int32)


def table_of(folder: Path) -> LayerTable:
    traced = load_source(folder)
    return inspect_model(traced.model, traced.config)


def quantizable(table: LayerTable) -> list[str]:
    return [layer.path for layer in table.layers if layer.quantizable]


def heads(table: LayerTable) -> set[str]:
    return {layer.path for layer in table.layers if layer.role in ("lm_head", "embeddings")}


def quiet(done: int, total: int, unit: str) -> None: ...


class Noted(nn.Linear):  # type: ignore[misc]
    """A linear layer that keeps what it is given."""

    def __call__(self, x: mx.array) -> mx.array:
        self.__dict__.setdefault("noted", []).append(np.array(x.astype(mx.float32)))
        return super().__call__(x)


def plain_inputs(folder: Path) -> dict[str, np.ndarray]:
    """Every linear layer's inputs [tokens, columns], by mlx_lm's own model in float32."""
    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    layers = {path: m for path, m in model.named_modules() if type(m) is nn.Linear}
    for layer in layers.values():
        layer.__class__ = Noted
    mx.eval(model(mx.array(WINDOWS)))
    return {
        path: np.concatenate([x.reshape(-1, x.shape[-1]) for x in layer.__dict__["noted"]])
        for path, layer in layers.items()
    }


@pytest.fixture
def untied(tiny: Callable[..., Path]) -> Path:
    return tiny(tied=False)


def test_means_and_mean_squares_are_those_of_the_models_own_inputs(untied: Path) -> None:
    table, plain = table_of(untied), plain_inputs(untied)
    found = measure_inputs(
        load_for_scoring(untied, exact=True), quantizable(table), WINDOWS, quiet, heads(table)
    )
    assert found.keys() == plain.keys()
    for path, inputs in plain.items():
        expected = np.square(inputs, dtype=np.float64).mean(axis=0)
        assert np.allclose(found[path].columns, expected, rtol=2e-4), path
        assert np.allclose(
            found[path].means, inputs.mean(axis=0), atol=2e-4 * expected.max() ** 0.5
        )
        assert found[path].tokens == WINDOWS.size


def test_an_embedding_counts_as_a_head_only(tiny: Callable[..., Path]) -> None:
    folder = tiny(tied=True)
    table = table_of(folder)
    model = load_for_scoring(folder, exact=True)
    found = measure_inputs(model, quantizable(table), WINDOWS, quiet, heads(table))
    states = model.model(mx.array(WINDOWS)).reshape(-1, 128)
    expected = np.square(np.array(states), dtype=np.float64).mean(axis=0)
    assert np.allclose(found["model.embed_tokens"].columns, expected, rtol=2e-4)


def test_every_expert_has_statistics_of_its_own(tmp_path: Path) -> None:
    folder = write(PLAIN["mixtral"](), tmp_path / "mixtral")
    table = table_of(folder)
    found = measure_inputs(
        load_for_scoring(folder, exact=True), quantizable(table), WINDOWS, quiet, heads(table)
    )
    path = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj"
    router = "model.layers.0.block_sparse_moe.gate"
    experts = found[path]
    assert experts.columns.shape == (4, 128) and experts.tokens.sum() == 2 * WINDOWS.size
    together = (experts.columns * experts.tokens[:, None]).sum(axis=0) / experts.tokens.sum()
    assert np.allclose(together, found[router].columns, rtol=1e-3)
    assert not np.allclose(experts.columns[0], experts.columns[1], rtol=1e-2)
    assert experts.means is not None and experts.means.shape == (4, 128)
    means = (experts.means * experts.tokens[:, None]).sum(axis=0) / experts.tokens.sum()
    assert np.allclose(means, found[router].means, atol=1e-3 * np.abs(means).max())
    assert not np.allclose(experts.means[0], experts.means[1], atol=1e-2 * np.abs(means).max())


def test_the_windows_may_be_cut_into_waves_at_will(
    untied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlxforge.calibrate import run

    table = table_of(untied)
    paths = quantizable(table)
    model = load_for_scoring(untied, exact=True)
    whole = measure_inputs(model, paths, WINDOWS, quiet, heads(table))
    monkeypatch.setattr(run, "WAVE_TOKENS", 48)
    cut = measure_inputs(model, paths, WINDOWS, quiet, heads(table))
    for path in whole:
        assert np.allclose(whole[path].columns, cut[path].columns, rtol=1e-5)


def test_they_come_back_from_their_file(tiny: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny(tied=True)
    table = table_of(folder)
    model = load_for_scoring(folder, exact=True)
    found = measure_inputs(model, quantizable(table), WINDOWS, quiet, heads(table))
    write_importances(found, tmp_path)
    again = read_importances(tmp_path, table)
    assert again.keys() == found.keys()
    for path, entry in found.items():
        assert np.array_equal(again[path].tokens, entry.tokens)
        if path != "model.embed_tokens":
            assert np.array_equal(again[path].columns, entry.columns)
            assert np.array_equal(again[path].means, entry.means)
    assert again["model.embed_tokens"].means is None  # it has two uses
    embedding = again["model.embed_tokens"].columns
    assert embedding.min() > 0.2 and np.isclose(embedding.mean(), 1.2, rtol=1e-5)


def test_inputs_that_are_not_finite_name_the_layer(tmp_path: Path) -> None:
    fields, weights = PLAIN["llama"]()
    name = "model.layers.1.input_layernorm.weight"
    weights[name] = mx.full(weights[name].shape, 3e38).astype(mx.bfloat16)
    folder = write((fields, weights), tmp_path / "loud")
    table = table_of(folder)
    model = load_for_scoring(folder, exact=True)
    with pytest.raises(ForgeError, match=r"inputs of model\.layers\.1\.self_attn\..* not finite"):
        measure_inputs(model, quantizable(table), WINDOWS, quiet, heads(table))


def test_without_a_text_tokens_are_drawn_that_the_model_has_in_windows_that_it_knows(
    tmp_path: Path,
) -> None:
    fields, weights = PLAIN["llama"]()
    source = write(({**fields, "max_position_embeddings": 96}, weights), tmp_path / "source")
    for name in ("layers", "out", "checkpoints"):
        (tmp_path / name).mkdir()
    Inspect().run({"source": source}, tmp_path / "layers", quiet)
    inputs = {"source": source, "layers": tmp_path / "layers"}
    inputs["checkpoints"] = tmp_path / "checkpoints"
    Calibrate.drawn().run(inputs, tmp_path / "out", quiet)
    table = table_of(source)
    tokens = Windows.read(tmp_path / "out").learned
    assert np.array_equal(tokens, drawn_windows(table.vocabulary, 8, 96, seed=0).learned)
    found = read_importances(tmp_path / "out", table)
    heads = {layer.path for layer in table.layers if layer.role == "embeddings"}
    assert found.keys() == {*quantizable(table)} - heads
    assert {int(entry.tokens) for entry in found.values()} == {8 * 96}


def test_no_tokens_are_drawn_for_embeddings_that_nobody_knows(tmp_path: Path) -> None:
    source = write(PLAIN["llama"](), tmp_path / "source")
    Inspect().run({"source": source}, tmp_path, quiet)
    layers = json.loads((tmp_path / "layers.json").read_bytes())
    for layer in layers["layers"]:
        if layer["role"] == "embeddings":
            layer["role"] = "other"
    (tmp_path / "layers.json").write_text(json.dumps(layers))
    inputs = {"source": source, "layers": tmp_path}
    with pytest.raises(ForgeError, match="no tokens can be drawn") as told:
        Calibrate.drawn().run(inputs, tmp_path, quiet)
    assert told.value.hint == "name a text: calibrate: {text: {path: …}}"


@pytest.mark.parametrize("name", ["qwen2", "gemma2", "gemma4"])
def test_a_head_is_the_embeddings_that_are_used_as_one(name: str, tmp_path: Path) -> None:
    """gemma4 has embeddings of each layer's own beside them."""
    source = write((PLAIN | HYBRID)[name](), tmp_path / "source")
    table, windows = table_of(source), WINDOWS % 200
    write_statistics(load_for_scoring(source, exact=True), table, windows, tmp_path, quiet)
    ((path, matrix),) = read_heads(tmp_path).items()
    assert path.endswith(".embed_tokens")
    diagonal = np.diagonal(matrix)
    found = read_importances(tmp_path, table)[path].columns
    assert np.allclose(0.2 + diagonal / diagonal.mean(), found, rtol=1e-4)


def test_of_a_head_of_its_own_all_moments_are_known(untied: Path, tmp_path: Path) -> None:
    table = table_of(untied)
    write_statistics(load_for_scoring(untied), table, WINDOWS, tmp_path, quiet)
    ((path, matrix),) = read_heads(tmp_path).items()
    assert path == "lm_head"
    assert np.array_equal(matrix, matrix.T)
    means = read_importances(tmp_path, table)[path].columns
    assert np.allclose(np.diagonal(matrix), means, rtol=1e-5)


class Killed(Exception):
    pass


@dataclass
class Until:
    """Ends a run with its report number ``fatal``, unless it is the last one."""

    fatal: int
    reports: list[int] = field(default_factory=list)

    def __call__(self, done: int, total: int, unit: str) -> None:
        self.reports.append(done)
        if len(self.reports) == self.fatal and done < total:
            raise Killed


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3_text", "mamba2"])
def test_killed_again_and_again_it_goes_on_and_gives_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxforge.calibrate.kept.EVERY", 0)
    monkeypatch.setattr("mlxforge.calibrate.run.WAVE_TOKENS", 96)  # 3 waves
    source = write({**PLAIN, **HYBRID}[name](), tmp_path / name)
    table, folders = table_of(source), {n: tmp_path / n for n in ("whole", "killed", "kept")}
    for folder in folders.values():
        folder.mkdir()

    def measure(out: str, until: Callable[[int, int, str], None], kept: Kept | None) -> None:
        model = load_for_scoring(source, exact=True)
        write_statistics(model, table, WINDOWS, folders[out], until, kept=kept)

    measure("whole", quiet, None)
    begun: list[int] = []
    for fatal in range(1, 100):
        until = Until(fatal)
        with suppress(Killed):
            measure("killed", until, Kept(folders["kept"]))
            break
        begun.append(until.reports[0])
    assert len({*begun}) > 1, "it always began at the first block"
    for file in sorted(folders["whole"].iterdir()):
        assert file.read_bytes() == (folders["killed"] / file.name).read_bytes(), file.name
    assert len([*folders["kept"].glob("at-*")]) == 3, "states of one block are kept, no more"
