"""AWQ by its step: nearer to the source than rounding, whatever the architecture, and the same
bytes again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.awq.scales import ROWS_TRIED
from mlxforge.errors import ForgeError
from mlxforge.models.scoring.leaves.fixed import expert_count, weight_of
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.load import load_tokenizer
from mlxforge.models.writing.chosen import read_chosen
from mlxforge.report.result import untold_of
from tests.calibrate.awq.common import (
    PLAINLY,
    SCALED,
    TEXT,
    WINDOWS,
    build,
    choose,
    files,
    logits,
    notes,
)
from tests.checkpoints import PLAIN, write
from tests.conftest import DEMO


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3"])
def test_the_model_is_whole_and_nearer_than_a_rounded_one(name: str, tmp_path: Path) -> None:
    mx.random.seed(1)
    source = write(TEXT[name](), tmp_path / name)
    chosen = choose(SCALED, source, tmp_path)
    scaled = build(replace(PLAINLY, method="awq"), source, tmp_path, chosen=chosen)
    rounded = build(PLAINLY, source, tmp_path)
    exact = logits(source)
    errors = [np.square(logits(folder) - exact).mean() for folder in (scaled, rounded)]
    assert errors[0] < 0.9 * errors[1]


def test_norms_and_codes_change_together(tiny: Callable[..., Path], tmp_path: Path) -> None:
    chosen = choose(replace(SCALED, grid=2, clip=False), tiny(tied=False), tmp_path)
    with read_chosen(chosen) as found:
        assert len(found.layers) == 15  # not the embeddings, which are no head
        scaled = {entry["scaler"]: entry["exponents"] for entry in notes(chosen)["pairs"]}
        norms = {f"{path}.weight" for path in scaled if "norm" in path}
        assert found.tensors <= norms
        moving = {path for path, by in scaled.items() if any(map(any, by))}
        assert {f"{path}.weight" for path in moving if "norm" in path} == found.tensors


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_a_layer_is_still_known_from_the_source_by_the_scales_that_were_moved(
    name: str, tmp_path: Path
) -> None:
    source = write(TEXT[name](), tmp_path / name)
    chosen = choose(replace(SCALED, grid=4, clip=False), source, tmp_path)
    scaled = build(replace(PLAINLY, method="awq"), source, tmp_path, chosen=chosen)
    with read_chosen(chosen) as found:
        moved = found.moved()
    assert {"rows", "columns"} == {n for entry in moved.values() for n in entry.arrays()}
    before, after = (
        dict(load_for_scoring(f, exact=True).named_modules()) for f in (source, scaled)
    )
    near = far = 0.0
    for path, factors in moved.items():
        experts = expert_count(before[path])
        for number in range(max(experts, 1)):
            mine = number if experts else None
            own, now = weight_of(before[path], mine), weight_of(after[path], mine)
            meant = factors.weight(own, number)
            assert mx.square(now - meant).sum() < 0.02 * mx.square(meant).sum()
            far += float(mx.square(now - own).sum())
            near += float(mx.square(now - meant).sum())
    assert far > 1.2 * near


def test_what_the_text_told_nothing_of_is_said(tmp_path: Path) -> None:
    """deepseek_v3 has projections of a class of their own, which nothing is led through."""
    source = write(TEXT["deepseek_v3"](), tmp_path / "source")
    chosen = choose(replace(SCALED, grid=2), source, tmp_path)
    made = build(replace(PLAINLY, method="awq"), source, tmp_path, chosen=chosen)
    layers = json.loads((made / "mlxforge.json").read_bytes())["layers"]
    untold = {path for path, entry in layers.items() if "without_calibration" in entry}
    assert {path.rpartition(".")[2] for path in untold} == {"embed_q", "unembed_out"}
    assert untold_of(layers.values())["layers"] == len(untold)
    plain = build(PLAINLY, source, tmp_path)
    assert "without_calibration" not in (plain / "mlxforge.json").read_text()


def test_a_layer_without_experts_has_none_that_saw_too_few_tokens(tmp_path: Path) -> None:
    source = write(TEXT["llama"](), tmp_path / "source")
    chosen = choose(replace(SCALED, grid=2), source, tmp_path, windows=WINDOWS[:1, :32])
    assert json.loads((chosen / "chosen.json").read_bytes())["experts_without_calibration"] == {}


def test_a_grid_of_one_rounds_all_but_the_head_and_does_nothing_else(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny(tied=True)
    chosen = choose(replace(SCALED, grid=1, clip=False), source, tmp_path)
    scaled = build(replace(PLAINLY, method="awq"), source, tmp_path, chosen=chosen)
    rounded = build(PLAINLY, source, tmp_path)
    found, expected = (mx.load(str(f / "model.safetensors")) for f in (scaled, rounded))
    assert found.keys() == expected.keys()
    with read_chosen(tmp_path / "heads") as heads:
        assert heads.layers == {"model.embed_tokens"}
        expected |= {name: rows.read_all() for name, rows in heads.rows.items()}
    for name, value in expected.items():
        assert mx.array_equal(found[name], value), name


def test_the_same_again_on_one_core_and_in_other_pieces(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlxforge.calibrate.awq import scales, scaling

    source = tiny(tied=False)
    first = choose(SCALED, source, tmp_path / "first")
    for module in (scaling, scales):
        monkeypatch.setattr(module, "workers", lambda: 1)
    monkeypatch.setattr(scaling, "ROWS_AT_ONCE", 40)
    second = choose(SCALED, source, tmp_path / "second")
    assert files(first) == files(second)


def test_a_killed_run_goes_on_behind_its_last_block(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny(tied=False)
    whole = choose(SCALED, source, tmp_path / "whole")

    def dying(done: int, total: int, unit: str) -> None:
        if done == 10:  # in the second of two blocks with seven layers each
            raise KeyboardInterrupt

    kept = tmp_path / "killed" / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        choose(SCALED, source, tmp_path / "killed", progress=dying)
    assert [path.name for path in kept.glob("*.json")] == ["block-00000.json"]
    first = {path.name: path.stat().st_mtime_ns for path in kept.glob("*-0000[1-7].safetensors")}
    again = choose(SCALED, source, tmp_path / "killed")
    assert first.items() <= {p.name: p.stat().st_mtime_ns for p in again.iterdir()}.items()
    assert files(again) == files(whole)


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_a_block_of_which_a_file_was_lost_is_chosen_again_from_its_start(
    tiny: Callable[..., Path], tmp_path: Path, lost: int
) -> None:
    source = tiny(tied=False)
    whole = choose(SCALED, source, tmp_path / "whole")

    def dying(done: int, total: int, unit: str) -> None:
        if done == 10:  # in the second of two blocks
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(SCALED, source, tmp_path / "killed", progress=dying)
    kept = tmp_path / "killed" / "checkpoints"
    order = json.loads((kept / "block-00000.json").read_bytes())["order"]
    (kept / f"model-{lost + 1:05d}.safetensors").unlink()  # the first one is the head's
    assert len(order) > lost
    assert files(choose(SCALED, source, tmp_path / "killed")) == files(whole)


def test_experts_without_tokens_are_told_and_the_rest_still_fits(tmp_path: Path) -> None:
    source = write(PLAIN["qwen3_moe"](), tmp_path / "moe")
    chosen = choose(SCALED, source, tmp_path, WINDOWS[:2])
    with read_chosen(chosen) as found:
        assert found.unknown and all(".switch_mlp." in path for path in found.unknown)
    scaled = build(replace(PLAINLY, method="awq"), source, tmp_path, chosen=chosen)
    exact = logits(source)
    assert np.square(logits(scaled) - exact).mean() < 0.1 * exact.var()


def test_a_column_is_judged_by_all_of_its_weights_not_by_those_of_the_rows_tried(
    tmp_path: Path,
) -> None:
    mx.random.seed(2)
    fields, weights = PLAIN["llama"]()
    by = np.exp2(np.random.default_rng(1).normal(size=128))
    by[5] = 1
    for name in ("gate_proj", "up_proj"):
        path = f"model.layers.0.mlp.{name}.weight"
        weight = np.array(weights[path].astype(mx.float32)) * by
        weight[:: -(-len(weight) // ROWS_TRIED), 5] = 0
        weights[path] = mx.array(weight).astype(mx.bfloat16)
    source = write((fields, weights), tmp_path / "llama")
    with read_chosen(choose(SCALED, source, tmp_path)) as found:
        columns = found.moved()["model.layers.0.mlp.gate_proj"].columns
    assert columns is not None and columns.max() > 1.5 * columns.min()
    assert columns[5] < 2 * np.median(columns)


def test_what_cannot_be_paired_says_why(tmp_path: Path) -> None:
    rules = ({"layers": "*.v_proj", "quantize": False, "bits": None, "group_size": None,
              "mode": None},)  # fmt: skip
    source = write(PLAIN["qwen3"](), tmp_path / "qwen3")
    without = notes(choose(replace(SCALED, overrides=rules), source, tmp_path))["without"]
    reason = "model.layers.0.self_attn.v_proj is left as it is"
    assert without["model.layers.0.input_layernorm"] == reason
    assert without["model.layers.0.self_attn.v_proj"] == reason
    assert "is not multiplied by it alone" in without["model.layers.0.self_attn.q_norm"]


def test_a_head_has_its_codes_before_scales_move(tmp_path: Path) -> None:
    source = write(PLAIN["llama"](), tmp_path / "llama")
    chosen = choose(SCALED, source, tmp_path)
    assert (
        notes(chosen)["without"]["model.norm"] == "lm_head is a head, whose codes are chosen before"
    )
    with read_chosen(chosen) as found, read_chosen(tmp_path / "heads") as heads:
        assert heads.layers == {"lm_head"}
        assert "model.norm.weight" not in found.tensors
        mine, theirs = found.codes("lm_head", 4), heads.codes("lm_head", 4)
    for part in ("codes", "scales", "biases"):
        assert mx.array_equal(getattr(mine, part), getattr(theirs, part))


def test_inputs_that_are_not_finite_name_the_layer(tmp_path: Path) -> None:
    fields, weights = PLAIN["llama"]()
    quiet_one = write((fields, weights), tmp_path / "quiet")
    name = "model.layers.1.input_layernorm.weight"
    weights[name] = mx.full(weights[name].shape, 3e38).astype(mx.bfloat16)
    source = write((fields, weights), tmp_path / "loud")
    with pytest.raises(ForgeError, match=r"inputs of model\.layers\.1\.self_attn\..* not finite"):
        choose(SCALED, source, tmp_path, taught=quiet_one)


def test_on_a_trained_model_it_is_nearer_than_rounding(tmp_path: Path) -> None:
    source = DEMO / "model"
    tokens = np.array(load_tokenizer(source).encode((DEMO / "heldout.txt").read_text()), np.int32)
    windows = tokens[: len(tokens) // 64 * 64].reshape(-1, 64)
    held_out, lessons = windows[:10], windows[-16:]
    chosen = choose(replace(SCALED, group_size=64), source, tmp_path, lessons)
    plain = replace(PLAINLY, group_size=64)
    scaled = build(replace(plain, method="awq"), source, tmp_path, chosen=chosen)
    exact = logits(source, held_out)
    found = [divergence(exact, logits(folder, held_out))
             for folder in (scaled, build(plain, source, tmp_path))]  # fmt: skip
    assert found[0] < 0.8 * found[1]


def divergence(source: np.ndarray, model: np.ndarray) -> float:
    """Mean KL, in nats, of logits [..., vocabulary]."""
    wanted, found = (
        logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        for logits in (values - values.max(axis=-1, keepdims=True) for values in (source, model))
    )
    return float((np.exp(wanted) * (wanted - found)).sum(axis=-1).mean())
