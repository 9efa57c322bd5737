"""gptq on scales that awq has moved: the same function before, a nearer model after, and all that
was moved handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.gptq.prepared import Prepared
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.leaves.fixed import expert_count, weight_of
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.writing.chosen import ChosenWriter, read_chosen
from mlxforge.steps.gptq import Gptq
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
    quiet,
)
from tests.checkpoints import write

SOLVED = Gptq("gptq", 4, 32, "affine", "search", None, "none")


class Killed(Exception): ...


def solve(source: Path, root: Path, kept: str = "kept", killed_after: int | None = None) -> Path:
    """What gptq makes of what ``choose`` left below ``root``, in checkpoints that are ``kept``."""
    inputs = {name: root / name for name in ("layers", "calibration")}
    inputs |= {"source": source, "prepared": root / "chosen", "checkpoints": root / kept}
    out = root / f"solved-{len([*root.glob('solved-*')])}"
    for folder in (out, root / kept):
        folder.mkdir(exist_ok=True)

    def progress(done: int, total: int, unit: str) -> None:
        if done == killed_after:
            raise Killed

    SOLVED.run(inputs, out, progress)
    return out


def killed_at_second(add: Callable[..., None]) -> Callable[..., None]:
    calls = iter([add])

    def adding(*given: object) -> None:
        if (now := next(calls, None)) is None:
            raise Killed
        now(*given)

    return adding


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "mixtral", "qwen3_next", "deepseek_v3"])
@pytest.mark.parametrize("dtype", [None, "float16"])
def test_scales_that_were_moved_leave_the_function_as_it_was(
    name: str, dtype: str | None, tmp_path: Path
) -> None:
    source = write(TEXT[name](), tmp_path / name)
    prepared = Prepared.read(choose(replace(SCALED, dtype=dtype), source, tmp_path))
    assert any(entry.rows is not None for entry in prepared.moved.values())
    table = Inspection(tmp_path / "layers").table
    casts = {
        entry.layer.path: getattr(mx, entry.layer.weight.dtype_after(dtype))
        for entry in assign(table, SOLVED.wanted())
        if entry.scheme
    }
    model = load_for_scoring(source, exact=True)
    prepared.give(model, casts)
    exact = logits(source)
    off = np.array(model(mx.array(WINDOWS))) - exact
    assert np.abs(off).max() < 1e-3 * np.abs(exact).max()
    modules = dict(model.named_modules())
    sources = dict(load_for_scoring(source, exact=True).named_modules())
    for path, moved in prepared.moved.items():
        for expert in range(expert_count(modules[path])) or [None]:
            own = weight_of(sources[path], expert).astype(casts[path]).astype(mx.float32)
            assert mx.array_equal(weight_of(modules[path], expert), moved.weight(own, expert or 0))


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_what_was_moved_is_handed_on_whole_or_killed_in_between(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(TEXT[name](), tmp_path / name)
    before = choose(SCALED, source, tmp_path)
    whole = solve(source, tmp_path)
    with read_chosen(before) as awq, read_chosen(whole) as found:
        assert found.layers >= awq.layers and found.tensors == awq.tensors
        for name in found.tensors:
            assert mx.array_equal(found.rows[name].read_all(), awq.rows[name].read_all())
        moved = awq.moved()
        assert moved.keys() == found.moved().keys()
        for path, mine in found.moved().items():
            for part, value in mine.arrays().items():
                assert np.array_equal(value, moved[path].arrays()[part])
    assert notes(whole) == notes(before)
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(ChosenWriter, "add_tensor", killed_at_second(ChosenWriter.add_tensor))
        solve(source, tmp_path, "again")
    assert len([*(tmp_path / "again").iterdir()]) == 1
    for layers in (2, 9):
        with pytest.raises(Killed):
            solve(source, tmp_path, "again", layers)
    assert files(solve(source, tmp_path, "again")) == files(whole)


def test_the_model_is_nearer_than_what_either_makes_alone(tmp_path: Path) -> None:
    """Channels of very different size, which is what scales between layers are for."""
    mx.random.seed(1)
    fields, weights = TEXT["llama"]()
    by = mx.array(np.exp2(np.random.default_rng(5).normal(size=128)).astype(np.float32))
    for number in range(fields["num_hidden_layers"]):
        block = f"model.layers.{number}."
        for norm, readers in (
            ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
        ):
            scaler = f"{block}{norm}.weight"
            weights[scaler] = (weights[scaler] / by).astype(weights[scaler].dtype)
            for reader in readers:
                name = f"{block}{reader}.weight"
                weights[name] = (weights[name] * by).astype(weights[name].dtype)
    source = write((fields, weights), tmp_path / "llama")
    awq = choose(SCALED, source, tmp_path)
    plain = tmp_path / "plain"
    alone = plain / "out"
    inputs = {name: tmp_path / name for name in ("layers", "calibration")} | {"source": source}
    inputs["checkpoints"] = plain / "kept"
    for folder in (alone, inputs["checkpoints"]):
        folder.mkdir(parents=True)
    SOLVED.run(inputs, alone, quiet)
    exact = logits(source)
    errors = []
    for number, chosen in enumerate((solve(source, tmp_path), alone, awq)):
        step = replace(PLAINLY, method=f"gptq{number}")
        made = build(step, source, tmp_path, chosen=chosen)
        errors.append(np.square(logits(made) - exact).mean())
    assert errors[0] < 0.9 * min(errors[1:])
