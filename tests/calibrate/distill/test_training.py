"""Training against the source: every kind of architecture, in both scopes, killed or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.distill.fitting import check_fits, needed_bytes
from mlxforge.calibrate.distill.pair import deal
from mlxforge.calibrate.distill.solve import Solved, keep_values
from mlxforge.calibrate.distill.train import train
from mlxforge.calibrate.distill.verdict import judge
from mlxforge.calibrate.kept import Kept, Pace
from mlxforge.calibrate.shelf import Shelf
from mlxforge.calibrate.windows import Windows
from mlxforge.errors import ForgeError
from mlxforge.models.scoring.leaves.trained import multiplied_by
from mlxforge.models.threads import Lanes
from tests.calibrate.distill.common import WINDOWS, pair_of, quiet, rounded, settings, trained
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

MAKERS = {**PLAIN, **HYBRID}
KINDS = (
    ("llama", "model"), ("mixtral", "blocks"), ("phi3", "blocks"), ("mamba2", "blocks"),
    ("gemma4", "blocks"), ("gemma4_text", "model"), ("qwen3_next", "blocks"),
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Source and its rounding to 3 bits, made once."""
    root = tmp_path_factory.mktemp("models")

    def make(name: str) -> tuple[Path, Path]:
        folder = root / name
        if not folder.exists():
            mx.random.seed(1)
            write(MAKERS[name](), folder / "source")
            rounded(folder / "source", folder)
        return folder / "source", folder / "start"

    return make


Models = Callable[[str], tuple[Path, Path]]


def values(solved: dict[int, Solved]) -> dict[str, mx.array]:
    return {name: value for found in solved.values() for name, value in found.read().items()}


def same(one: dict[int, Solved], other: dict[int, Solved]) -> bool:
    mine, theirs = values(one), values(other)
    return mine.keys() == theirs.keys() and all(
        value.dtype == theirs[name].dtype and bool(mx.array_equal(value, theirs[name]))
        for name, value in mine.items()
    )


@pytest.mark.parametrize(("name", "scope"), KINDS)
def test_the_result_is_nearer_to_the_source(
    name: str, scope: str, models: Models, tmp_path: Path
) -> None:
    pair = pair_of(*models(name))
    solved = train(pair, settings(scope=scope), Kept(tmp_path), quiet)
    assert all(found.after <= found.before for found in solved.values())
    verdict = judge(pair, solved, Shelf())
    assert verdict.after < verdict.before
    assert verdict.kept.keys() == solved.keys()


@pytest.mark.parametrize("scope", ["blocks", "model"])
def test_an_absurd_learning_rate_leaves_the_start(
    scope: str, models: Models, tmp_path: Path
) -> None:
    pair = pair_of(*models("llama"))
    solved = train(pair, settings(8, rate=1e6, scope=scope), Kept(tmp_path), quiet)
    for stage in pair.stages:
        layers = pair.layers(stage, norms=False)
        before = layers.values(layers.start())
        found = solved[stage.number].read()
        assert found.keys() == before.keys()
        assert all(mx.array_equal(found[name], value) for name, value in before.items())


def test_a_verdict_takes_back_what_makes_the_whole_worse(models: Models) -> None:
    pair = pair_of(*models("llama"))
    spoilt = {}
    for stage in pair.stages[:-1]:
        layers = pair.layers(stage, norms=False)
        values = layers.values({n: v + 3 for n, v in layers.start().items()})
        spoilt[stage.number] = Solved(1.0, 1.0, 1, frozenset(values), partial(dict, values))
    verdict = judge(pair, spoilt, Shelf())
    assert verdict.kept == {} and verdict.after == verdict.before


def test_training_of_a_whole_model_is_there_until_all_of_it_is_kept(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, start = models("llama")
    wanted = settings(3, scope="model")
    whole = trained(source, start, wanted, tmp_path / "whole")
    monkeypatch.setattr(Pace, "due", lambda pace: True)
    (tmp_path / "killed").mkdir()

    def once(*told: Any) -> None:
        keep_values(*told)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("mlxforge.calibrate.distill.train.keep_values", once)
        train(pair_of(source, start), wanted, Kept(tmp_path / "killed"), quiet)
    steps: list[int] = []
    found = train(
        pair_of(source, start), wanted, Kept(tmp_path / "killed"),
        lambda done, total, unit: steps.append(done),
    )  # fmt: skip
    assert not steps  # nothing was trained again
    assert same(found, whole)
    assert not [*(tmp_path / "killed").glob("descent*")]


def test_a_verdict_is_the_same_where_states_wait_on_disk(models: Models, tmp_path: Path) -> None:
    pair = pair_of(*models("llama"))
    solved = train(pair, settings(2), Kept(tmp_path), quiet)
    plain = judge(pair, solved, Shelf())
    (tmp_path / "shelf").mkdir()
    filed = judge(pair_of(*models("llama")), solved, Shelf(0, tmp_path / "shelf"))
    assert filed == plain
    assert len([*(tmp_path / "shelf").iterdir()]) == 2 * len(pair.batches.held_out)


def test_memory_holds_the_values_of_a_stage_that_is_looked_at_and_of_no_other(
    models: Models, tmp_path: Path
) -> None:
    solved = trained(*models("llama"), settings(1), tmp_path / "kept")
    for found in solved.values():
        assert found.names and found.names == found.read().keys()
        held = [value for value in vars(found).values() if isinstance(value, (dict, mx.array))]
        assert held == [] and found.read() is not found.read()


def test_norms_are_trained_where_asked(models: Models, tmp_path: Path) -> None:
    source, start = models("llama")
    plain = values(trained(source, start, settings(), tmp_path / "plain"))
    found = values(trained(source, start, settings(norms=True), tmp_path / "norms"))
    norms = {name for name in found if "norm" in name}
    assert found.keys() - plain.keys() == norms and len(norms) == 5
    old = dict(mx.load(str(next(start.glob("*.safetensors")))))
    assert all(found[name].dtype == old[name].dtype for name in norms)
    assert any(not mx.array_equal(found[name], old[name]) for name in norms)


@pytest.mark.parametrize(
    ("name", "scope"), [("llama", "blocks"), ("llama", "model"), ("gemma4_text", "blocks")]
)
def test_a_batch_may_be_cut_for_several_cores(
    name: str, scope: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, start = models(name)
    whole = trained(source, start, settings(2, scope=scope), tmp_path / "whole")
    monkeypatch.setattr("mlxforge.calibrate.distill.pair.PART_TOKENS", 24)
    cut = trained(source, start, settings(2, scope=scope), tmp_path / "cut")
    for number, found in whole.items():
        assert cut[number].after == pytest.approx(found.after, rel=1e-3)


@pytest.mark.parametrize("scope", ["blocks", "model"])
def test_how_many_cores_take_part_changes_nothing(
    scope: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxforge.calibrate.distill.pair.PART_TOKENS", 24)
    monkeypatch.setattr("mlxforge.models.threads.cores", lambda: 3)
    found = []
    for most in (1, 3):
        pair = pair_of(*models("llama"))
        pair.lanes = Lanes(most)
        (tmp_path / str(most)).mkdir()
        found.append(train(pair, settings(2, scope=scope), Kept(tmp_path / str(most)), quiet))
    assert same(*found)


class Killed(Exception):
    """In the place of a SIGKILL: nothing is done after it."""


@pytest.mark.parametrize(
    ("scope", "at"), [("blocks", 3), ("blocks", 8), ("blocks", 12), ("model", 3)]
)
def test_killed_and_run_again_it_ends_with_the_same_bytes(
    scope: str, at: int, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, start = models("llama")
    wanted = settings(4, scope=scope)
    whole = trained(source, start, wanted, tmp_path / "whole")
    monkeypatch.setattr("mlxforge.calibrate.kept.EVERY", 0)
    pair, kept = pair_of(source, start), tmp_path / "killed"
    kept.mkdir()

    def until(done: int, total: int, unit: str) -> None:
        if done >= at:
            raise Killed

    with pytest.raises(Killed):
        train(pair, wanted, Kept(kept), until)
    assert list(kept.iterdir())
    assert same(trained(source, start, wanted, kept), whole)


def test_experts_multiply_as_they_did(models: Models) -> None:
    pair = pair_of(*models("mixtral"))
    path = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj"
    module = pair.modules[path]
    layers = pair.layers(pair.stages[0], norms=False)
    x, chosen = mx.random.normal((2, 5, 1, 1, 128)), mx.array(WINDOWS[:2, :10] % 4)
    chosen = chosen.reshape(2, 5, 2)
    plain = module(x, chosen)
    with layers.used(layers.start()):
        assert mx.allclose(module(x, chosen), plain, atol=1e-5)
    entries = layers.weights(path)

    def loss(middle: mx.array) -> mx.array:
        def weigh(expert: int | None, rows: slice) -> mx.array:
            return entries[expert or 0].weight(slope, middle, rows)

        with multiplied_by([(module, weigh)]):
            return module(x, chosen).sum()

    slope, middle = entries[0].start()
    found = mx.grad(loss)(middle)
    # what all experts' middles move by 1 in a group: its step, times the sum of its inputs there
    expected = mx.zeros(middle.shape)
    for at in np.ndindex(2, 5, 2):
        inputs = x[at[0], at[1], 0, 0].reshape(2, 64).sum(axis=1)
        expected = expected + mx.abs(entries[int(chosen[at])].scales.astype(mx.float32)) * inputs
    assert mx.allclose(found, expected, rtol=1e-3, atol=1e-4)


def dealt(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """What trains, and what judges."""
    batches = deal(windows, 4)
    held = np.concatenate([np.array(batches.tokens[at]) for at in batches.held_out])
    training = np.concatenate([np.array(part) for part in batches.tokens[: batches.training]])
    return training, held


def test_what_nothing_has_learned_from_judges_and_all_else_trains() -> None:
    windows = np.arange(33 * 4, dtype=np.int32).reshape(33, 4)
    training, held = dealt(Windows(windows[:28], windows[28:]))
    assert np.array_equal(held, windows[28:])
    assert np.array_equal(training[training[:, 0].argsort()], windows[:28])
    assert not np.array_equal(training, windows[:28])


def test_one_window_in_eight_is_held_out_where_all_are_learned_from() -> None:
    windows = np.arange(33 * 4, dtype=np.int32).reshape(33, 4)
    training, held = dealt(Windows(windows, windows[:0]))
    assert np.array_equal(held, windows[7::8])
    both = np.concatenate([held, training])
    assert np.array_equal(both[both[:, 0].argsort()], windows)
    assert not np.array_equal(training, np.sort(training, axis=0))


def test_one_window_alone_is_refused() -> None:
    """More samples were refused for such a text before it came so far."""
    with pytest.raises(ForgeError, match=r"needs 2 windows.* the text gives 1") as refused:
        deal(Windows(WINDOWS[:1], WINDOWS[:0]), 4)
    assert refused.value.hint == "use a longer text, or a smaller sequence_length"


@pytest.mark.parametrize(
    ("scope", "name"), [("blocks", r"model\.layers\.0"), ("model", "the model")]
)
def test_a_source_that_overflows_is_told_by_the_block(
    scope: str, name: str, tmp_path: Path
) -> None:
    fields, weights = PLAIN["llama"]()
    path = "model.layers.0.mlp.down_proj.weight"
    weights[path] = mx.full(weights[path].shape, 3e38).astype(mx.bfloat16)
    source = write((fields, weights), tmp_path / "source")
    start = rounded(write(PLAIN["llama"](), tmp_path / "calm"), tmp_path)
    with pytest.raises(ForgeError, match=f"what {name} makes of the calibration tokens is not f"):
        trained(source, start, settings(scope=scope), tmp_path / "kept")


def test_too_little_memory_for_the_whole_model_says_what_would_fit(models: Models) -> None:
    pair = pair_of(*models("llama"))
    check_fits(pair, needed_bytes(pair))
    with pytest.raises(ForgeError, match=r"scope: model takes about .* 1.0 MB are free") as refused:
        check_fits(pair, 1_000_000)
    assert "scope: blocks" in (refused.value.hint or "") and refused.value.key == "scope"


def test_a_model_that_is_trained_whole_without_being_asked_has_to_fit_as_well(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxforge.calibrate.distill.train.available_bytes", lambda: 1_000_000)
    said = "whose blocks cannot be run one by one takes about .* 1.0 MB are free"
    with pytest.raises(ForgeError, match=said) as refused:
        trained(*models("gemma4"), settings(), tmp_path / "kept")
    assert "method: gptq" in (refused.value.hint or "")


def test_states_that_wait_on_disk_give_the_same_bytes(models: Models, tmp_path: Path) -> None:
    source, start = models("llama")
    whole = trained(source, start, settings(), tmp_path / "whole")
    shelf, kept = tmp_path / "shelf", tmp_path / "kept"
    shelf.mkdir()
    kept.mkdir()
    pair = pair_of(source, start)
    found = train(pair, settings(), Kept(kept), quiet, Shelf(30_000, shelf))
    assert len([*shelf.iterdir()]) > 1
    assert same(found, whole)
