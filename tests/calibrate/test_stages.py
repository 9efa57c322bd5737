"""Windows on their way through a model, and through its source beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlxforge.calibrate import hessians as sums_of
from mlxforge.calibrate import run as runs
from mlxforge.calibrate.hessians import Hessian, Sums
from mlxforge.calibrate.observe import Given, observed
from mlxforge.calibrate.run import Run
from mlxforge.calibrate.shelf import Shelf
from mlxforge.calibrate.stages import Stages
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.scoring.leaves.fixed import expert_count, fix_weight, weight_of
from mlxforge.models.scoring.leaves.layers import HeldLinear
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_source
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.search import search
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

TEXT = {**PLAIN, **HYBRID}
WINDOWS = np.random.default_rng(3).integers(0, 500, size=(5, 48)).astype(np.int32)


def paths_of(folder: Path) -> list[str]:
    traced = load_source(folder)
    table = inspect_model(traced.model, traced.config)
    return [layer.path for layer in table.layers if layer.quantizable]


def rounded(module: nn.Module) -> list[Affine]:
    numbers = range(expert_count(module)) if expert_count(module) else [None]
    return [search(weight_of(module, number), 2, 32, mx.bfloat16) for number in numbers]


def inputs_of(model: nn.Module, path: str) -> np.ndarray:
    """[tokens, columns], of the windows one by one."""
    seen: list[np.ndarray] = []
    with observed(model, [path], lambda _, x, __: seen.append(np.array(x, dtype=np.float64))):
        for window in WINDOWS:
            mx.eval(model(mx.array(window[None])))
    return np.concatenate([x.reshape(-1, x.shape[-1]) for x in seen])


def weigher(run: Run) -> Callable[[str], mx.array]:
    return lambda path: weight_of(run.modules[path])


def hessians(
    folder: Path, beside: bool = True, shelf: Shelf | None = None
) -> dict[tuple[str, int | None], Hessian]:
    """Of all stages, where each layer is rounded when its stage has passed."""
    model, source = (load_for_scoring(folder, keep=False, exact=True) for _ in range(2))
    run = Run(model, paths_of(folder), WINDOWS, source if beside else None, shelf)
    found = {}
    stages = Stages(run)
    for stage in stages:
        found |= {
            (stage[0], expert): hessian
            for expert, hessian in stages.inputs(stage, stage, weigher(run))
        }
        for path in stage:
            fix_weight(run.modules[path], rounded(run.modules[path]))
    return found


def drift_of(hessian: Hessian) -> np.ndarray:
    assert hessian.drift is not None
    if hessian.drift.matrix is not None:
        return hessian.drift.matrix
    (found,) = hessian.drift.products.values()
    return found


def test_the_drift_is_between_what_both_models_hand_on(tiny: Callable[..., Path]) -> None:
    folder = tiny(tied=False)
    found = hessians(folder)
    model, source = (load_for_scoring(folder, exact=True) for _ in range(2))
    modules = dict(model.named_modules())
    path = "model.layers.1.mlp.gate_proj"
    later = ("model.layers.1.mlp", "lm_head", "model.embed_tokens")
    for before in paths_of(folder):
        if not before.startswith(later):
            fix_weight(modules[before], rounded(modules[before]))
    x, meant = inputs_of(model, path), inputs_of(source, path)
    hessian = found[path, None]
    assert hessian.tokens == WINDOWS.size
    assert np.allclose(hessian.matrix, x.T @ x / len(x), atol=1e-4 * np.square(x).mean())
    expected = (meant - x).T @ x / len(x)
    assert np.abs(expected).max() > 0
    assert np.allclose(drift_of(hessian), expected, atol=1e-3 * np.abs(expected).max())


def test_what_is_left_of_a_stage_drifts_as_in_the_whole_of_it(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step was killed within a stage, one of its layers may be all that is left."""
    monkeypatch.setattr(sums_of, "WIDE", 64)
    model, source = (load_for_scoring(tiny(tied=False), keep=False, exact=True) for _ in range(2))
    run = Run(model, paths_of(tiny(tied=False)), WINDOWS, source)
    embeddings = run.modules["model.embed_tokens"]
    fix_weight(embeddings, rounded(embeddings))
    seen = []
    for stage in (stages := Stages(run)):
        for wanted in (stage, stage[-1:]):
            (_, found), *_ = stages.inputs(stage, wanted, weigher(run))
            assert found.drift is not None
            seen.append(found.drift)
        whole, left = seen[-2:]
        if whole.matrix is None:
            path = stage[-1]
            assert left.matrix is None and left.products.keys() == {path}
            assert np.array_equal(left.products[path], whole.products[path])
        else:
            assert left.matrix is not None and np.array_equal(left.matrix, whole.matrix)
        if run.index:
            break
    assert {each.matrix is None for each in seen} == {True, False}


def test_before_anything_has_changed_nothing_drifts(tiny: Callable[..., Path]) -> None:
    first, *rest = hessians(tiny(tied=False)).values()
    assert not drift_of(first).any()
    assert all(drift_of(entry).any() for entry in rest)


@pytest.mark.parametrize(("room", "spare"), [(1 << 30, 0), (100_000, 200_000), (0, 1 << 30)])
@pytest.mark.parametrize(
    "name", ["llama", "qwen3_moe", "gemma3_text", "mamba2", "gemma4", "cohere2", "falcon_h1"]
)
def test_what_is_remembered_of_a_block_changes_nothing(
    name: str, room: int, spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(TEXT[name](), tmp_path / name)
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(room, tmp_path / "shelf", spare=spare)
    found = hessians(folder, shelf=shelf)
    monkeypatch.setattr(runs, "cores", lambda: 1)
    plain = hessians(folder)
    assert found.keys() == plain.keys() and len(found) > 4
    for key, entry in plain.items():
        assert np.array_equal(entry.matrix, found[key].matrix), key
        _, expert = key
        if expert is not None:  # rows are sorted by expert: those of two models do not match
            assert entry.drift is None and found[key].drift is None, key
            continue
        assert np.array_equal(drift_of(entry), drift_of(found[key])), key


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba2"])
def test_states_that_wait_on_disk_give_the_same(name: str, tmp_path: Path) -> None:
    folder = write(TEXT[name](), tmp_path / name)
    (tmp_path / "shelf").mkdir()
    found = hessians(folder, shelf=Shelf(1000, tmp_path / "shelf"))
    assert len([*(tmp_path / "shelf").iterdir()]) > 1
    for key, entry in hessians(folder).items():
        assert np.array_equal(entry.matrix, found[key].matrix), key


def test_a_layer_multiplies_a_wave_once_for_each_of_its_weights(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "WAVE_TOKENS", 48)
    folder = tiny(tied=False)
    model = load_for_scoring(folder, exact=True)
    path = "model.layers.0.self_attn.q_proj"
    run = Run(model, paths_of(folder), WINDOWS, shelf=Shelf(1 << 30))
    shapes: list[tuple[int, ...]] = []
    multiply = HeldLinear.__call__

    def counted(self: HeldLinear, x: mx.array) -> mx.array:
        if self is run.modules[path]:
            shapes.append(x.shape)
        return multiply(self, x)

    monkeypatch.setattr(HeldLinear, "__call__", counted)
    stages = Stages(run)
    for stage in stages:
        if run.index > 0:
            break
        deliver = [*stages.inputs(stage, stage, weigher(run))]
        assert deliver[0][1].tokens == WINDOWS.size
        for each in stage:
            fix_weight(run.modules[each], rounded(run.modules[each]))
    assert shapes.count((1, 48, 128)) == len(WINDOWS)


def test_rows_of_experts_are_not_compared_with_other_tokens_of_the_source(tmp_path: Path) -> None:
    """From 64 choices on mlx_lm sorts rows by expert: one token that goes elsewhere in the source
    shifts all rows behind it."""
    found = hessians(write(TEXT["qwen3_moe"](), tmp_path / "moe"))
    experts = {key: entry for key, entry in found.items() if key[1] is not None}
    assert experts and all(entry.drift is None for entry in experts.values())
    rest = [entry for key, entry in found.items() if key not in experts]
    assert all(entry.drift is not None for entry in rest)


def test_experts_have_sums_of_their_own_rows() -> None:
    x = mx.array(np.random.default_rng(0).normal(size=(1, 4, 1, 1, 8)).astype(np.float32))
    sums = Sums(8, first=0, count=2)
    sums.add(sums.look(Given(x, mx.array([[[0], [1], [1], [0]]]))))
    rows = np.array(x, dtype=np.float64).reshape(4, 8)
    for hessian, mine in zip(sums.means("experts"), ([0, 3], [1, 2]), strict=True):
        assert hessian.tokens == 2 and hessian.drift is None
        assert np.allclose(hessian.matrix, rows[mine].T @ rows[mine] / 2, atol=1e-6)
