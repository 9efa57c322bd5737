"""How much worse each layer alone makes a model: against mlx_lm's own model with that layer's
weights exchanged, and the same bytes however the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.utils import load_model

from mlxforge.calibrate.dynamic import sensitivity
from mlxforge.calibrate.dynamic.ends import divergence
from mlxforge.calibrate.dynamic.records import (
    Records,
    Sensitivity,
    read_sensitivities,
    write_sensitivities,
)
from mlxforge.calibrate.dynamic.rounding import Rounded, Rounder
from mlxforge.calibrate.dynamic.sensitivity import measure_sensitivities, probe_windows
from mlxforge.errors import ForgeError
from mlxforge.evaluate.divergence import divergence as plain_divergence
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.table import Layer, LayerTable
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_source
from mlxforge.recipe.methods import PROBED_TOKENS
from tests.checkpoints import PLAIN, Checkpoint, write
from tests.checkpoints.hybrid import HYBRID

MAKERS: dict[str, Callable[[], Checkpoint]] = {**PLAIN, **HYBRID}
CHOSEN = ("phi3", "gemma3_text", "qwen3_moe", "deepseek_v3", "mamba2")
WINDOWS = np.random.default_rng(5).integers(0, 500, size=(3, 24)).astype(np.int32)
ROUNDER = Rounder("minmax", 64, "bfloat16", {})


def table_of(folder: Path) -> LayerTable:
    traced = load_source(folder)
    return inspect_model(traced.model, traced.config)


def layers_of(folder: Path) -> list[Layer]:
    return [layer for layer in table_of(folder).layers if layer.quantizable]


def quiet(done: int, total: int, unit: str) -> None: ...


def at_once(name: str, find: Callable[[], dict[str, Sensitivity]]) -> dict[str, Sensitivity]:
    return find()


def measured(folder: Path, rounder: Rounder = ROUNDER) -> dict[str, Sensitivity]:
    model = load_for_scoring(folder, exact=True)
    return measure_sensitivities(model, layers_of(folder), WINDOWS, rounder, at_once, quiet)


def plainly(folder: Path, bits: int) -> dict[str, tuple[float, float]]:
    """By layer the divergence and the squared error, with all of mlx_lm's model in memory."""
    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    modules = dict(model.named_modules())
    source = answers(model)
    found = {}
    for layer in layers_of(folder):
        module = modules[layer.path]
        before = module.weight
        words, scales, biases = mx.quantize(before, group_size=64, bits=bits)
        module.weight = mx.dequantize(
            words, *(part.astype(mx.bfloat16).astype(mx.float32) for part in (scales, biases)),
            group_size=64, bits=bits,
        )  # fmt: skip
        nats = plain_divergence(source, answers(model)).mean()
        error = np.square(np.array(module.weight - before), dtype=np.float64).sum()
        module.weight = before
        found[layer.path] = (float(nats), float(error))
    return found


def answers(model: nn.Module) -> np.ndarray:
    logits = np.array(model(mx.array(WINDOWS))).astype(np.float64)
    logits = logits.reshape(-1, logits.shape[-1])
    logits -= logits.max(axis=-1, keepdims=True)
    found: np.ndarray = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return found


@pytest.mark.parametrize("name", CHOSEN)
def test_each_layer_is_measured_as_if_it_alone_were_quantized(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mx.random.seed(2)
    folder = write(MAKERS[name](), tmp_path / name)
    monkeypatch.setattr(sensitivity, "PROBES", (3,))
    found, expected = measured(folder), plainly(folder, bits=3)
    assert found.keys() == expected.keys()
    for path, (nats, error) in expected.items():
        assert found[path].measured[3] == pytest.approx(nats, rel=0.02, abs=2e-9), path
        assert found[path].errors[3] == pytest.approx(error, rel=1e-3), path


def test_the_head_counts_where_embeddings_are_tied(tiny: Callable[..., Path]) -> None:
    folder = tiny(tied=True)
    expected = plainly(folder, bits=2)["model.embed_tokens"]
    found = measured(folder)["model.embed_tokens"]
    assert found.measured[2] == pytest.approx(expected[0], rel=0.02)


def test_the_bytes_do_not_depend_on_how_the_work_is_cut_by_a_kill(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, layers = tiny(tied=False), layers_of(tiny(tied=False))

    class Killed(Exception): ...

    def run(into: Path, steps: int = 99) -> None:
        into.mkdir(exist_ok=True)
        records, left = Records(into).kept, [steps]

        def kept(name: str, find: Callable[[], dict[str, Sensitivity]]) -> dict[str, Sensitivity]:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return records(name, find)

        model = load_for_scoring(folder, exact=True)
        found = measure_sensitivities(model, layers, WINDOWS, ROUNDER, kept, quiet)
        write_sensitivities(found, into)

    monkeypatch.setattr(sensitivity, "CARRIED_BYTES", 2 * WINDOWS.size * 4 * 128)
    run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "cut", steps=4)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut").iterdir()}
    run(tmp_path / "cut")
    name = "sensitivities.json"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(kept) == 4  # and were not made again
    assert (
        kept.items() <= {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut").iterdir()}.items()
    )
    assert read_sensitivities(tmp_path / "cut").keys() == {layer.path for layer in layers}


def test_what_is_not_measured_is_scaled_by_the_squared_error() -> None:
    entry = Sensitivity({2: 0.9, 3: 0.2}, {2: 16.0, 3: 4.0, 4: 1.0, 5: 0.25})
    assert entry.at(2) == 0.9 and entry.at(3) == 0.2
    assert entry.at(4) == pytest.approx(0.05) and entry.at(5) == pytest.approx(0.0125)


def test_a_divergence_far_below_float32s_rounding_is_still_exact() -> None:
    random = np.random.default_rng(1)
    logits = (random.normal(size=(400, 3000)) * 3).astype(np.float32)
    other = (logits + random.normal(size=logits.shape) * 1e-3).astype(np.float32)
    one, two = logits.astype(np.float64), other.astype(np.float64)
    one -= np.log(np.exp(one).sum(axis=-1, keepdims=True))
    two -= np.log(np.exp(two).sum(axis=-1, keepdims=True))
    found = divergence(mx.array(logits), mx.array(other))
    assert np.allclose(found, plain_divergence(one, two), rtol=1e-3)


def test_windows_are_taken_from_all_of_the_text() -> None:
    windows = np.arange(40 * 200, dtype=np.int32).reshape(40, 200)
    found = probe_windows(windows)
    assert found.shape == (PROBED_TOKENS // sensitivity.LENGTH, sensitivity.LENGTH)
    assert found[0, 0] == 0 and found[-1, 0] >= 30 * 200
    assert probe_windows(windows[:2, :64]).shape == (2, 64)


def test_inputs_that_are_not_finite_name_the_layer(tmp_path: Path) -> None:
    fields, weights = PLAIN["llama"]()
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name] = mx.full(weights[name].shape, 3e38).astype(mx.bfloat16)
    folder = write((fields, weights), tmp_path / "loud")
    with pytest.raises(ForgeError, match=r"inputs of model.layers.1.self_attn.q_proj are not fin"):
        measured(folder)


def test_answers_that_are_not_finite_name_the_layer_and_its_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(PLAIN["llama"](), tmp_path / "llama")
    whole = Rounder.round

    def loud(self: Rounder, layer: Layer, *args: Any) -> Rounded:
        found = whole(self, layer, *args)
        words, scales, biases = found.packed[2].parts
        loudest = scales * float("inf")
        mx.eval(loudest)
        broken = replace(found.packed[2], parts=(words, loudest, biases))
        several = layer.path == "model.layers.1.mlp.up_proj"
        return replace(found, packed={**found.packed, 2: broken}) if several else found

    monkeypatch.setattr(Rounder, "round", loud)
    said = r"model.layers.1.mlp.up_proj in 2 bits makes the model's answers infinite or NaN"
    with pytest.raises(ForgeError, match=said):
        measured(folder)
