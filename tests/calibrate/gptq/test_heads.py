"""The step heads: the layers whose outputs are logits, and those alone, by what comes into them."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import mlxforge.calibrate.gptq.heads as heads
from mlxforge.calibrate.gptq.heads import head_codes
from mlxforge.calibrate.head import read_heads
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.leaves.fixed import weight_of
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.loader import Loader
from mlxforge.models.writing.chosen import read_chosen
from mlxforge.quantize.affine import Affine, decode, unpack
from mlxforge.quantize.factor import prepare
from mlxforge.quantize.gptq import gptq, quantize
from mlxforge.quantize.scheme import Scheme
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.recipe.model import Quantize
from mlxforge.steps.heads import Heads
from mlxforge.steps.inspect import Inspect
from tests.checkpoints import PLAIN, write
from tests.checkpoints.vision import VISION

WANTED = Quantize("rtn", 3, 32, "affine", "search", None, "none")
TOKENS = np.random.default_rng(1).integers(0, 500, size=(4, 48)).astype(np.int32)


def silent(done: int, total: int, unit: str) -> None: ...


class Work:
    """A source, inspected, with what its calibration has told."""

    def __init__(self, name: str, folder: Path) -> None:
        self.source = (
            VISION[name](folder / name) if name in VISION else write(PLAIN[name](), folder / name)
        )
        self.loader: Loader = "mlx_vlm" if name in VISION else "mlx_lm"
        self.inputs = {part: folder / part for part in ("layers", "calibration", "checkpoints")}
        for path in self.inputs.values():
            path.mkdir()
        self.inputs["source"] = self.source
        Inspect(loader=self.loader).run(self.inputs, self.inputs["layers"], silent)
        self.table = Inspection(self.inputs["layers"]).table
        model = load_for_scoring(self.source, exact=True)
        write_statistics(model, self.table, TOKENS, self.inputs["calibration"], silent)
        self.modules = dict(getattr(model, "whole", model).named_modules())

    def run(self, out: Path, wanted: Quantize = WANTED) -> dict[str, bytes]:
        out.mkdir()
        Heads.of(wanted, loader=self.loader).run(self.inputs, out, silent)
        return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("llama", ["lm_head"]),
        ("qwen2", ["model.embed_tokens"]),
        ("gemma3", ["language_model.model.embed_tokens", "language_model.lm_head"]),
    ],
)
def test_heads_are_chosen_and_nothing_else_in_one_run_or_two(
    name: str, paths: list[str], tmp_path: Path
) -> None:
    work = Work(name, tmp_path)
    found = work.run(tmp_path / "once")
    assert json.loads(found["chosen.json"])["layers"] == paths
    first = work.inputs["checkpoints"] / "model-00001.safetensors"
    kept = first.stat()
    assert work.run(tmp_path / "again") == found
    assert first.stat().st_mtime_ns == kept.st_mtime_ns  # what was there was taken up


def test_a_head_of_its_own_is_what_gptq_makes_of_it(tmp_path: Path) -> None:
    work = Work("llama", tmp_path)
    work.run(tmp_path / "out")
    moments = read_heads(work.inputs["calibration"])["lm_head"]
    weight = weight_of(work.modules["lm_head"])
    expected = gptq(weight, moments, 3, 32, mx.bfloat16, damping=0.03)
    with read_chosen(tmp_path / "out") as chosen:
        words, scales, biases = chosen.read("lm_head", 0, len(weight))
    assert mx.array_equal(unpack(words, 3), expected.codes)
    assert mx.array_equal(scales, expected.scales) and mx.array_equal(biases, expected.biases)


def test_the_rows_at_a_time_change_no_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work("qwen2", tmp_path)
    (path, moments), *_ = read_heads(work.inputs["calibration"]).items()
    module, scheme = work.modules[path], Scheme(4, 32, "affine")
    monkeypatch.setattr(heads, "rows_at_once", lambda columns: 256)
    found = head_codes(
        module, moments, scheme, mx.bfloat16, Settings(128, 0.03, True), embeddings=True
    )
    both = moments / np.diagonal(moments).mean() + 0.2 * np.eye(len(moments))
    weight = weight_of(module)
    assert len(weight) > 256
    expected = quantize(weight, prepare(both, damping=0.03), 4, 32, mx.bfloat16)
    for part in ("codes", "scales", "biases"):
        assert mx.array_equal(getattr(found, part), getattr(expected, part))


def test_logits_are_nearer_than_with_each_weight_rounded_alone(tmp_path: Path) -> None:
    work = Work("llama", tmp_path)
    columns = weight_of(work.modules["lm_head"]).shape[1]
    chance = np.random.default_rng(5)
    x = chance.normal(size=(2000, 16)) @ chance.normal(size=(16, columns))  # much correlated
    x += 0.3 * chance.normal(size=x.shape)
    moments = x[:1000].T @ x[:1000] / 1000
    module, weight = work.modules["lm_head"], weight_of(work.modules["lm_head"])
    scheme, settings = Scheme(3, 32, "affine"), Settings(128, 0.03, True)
    solved = head_codes(module, moments, scheme, mx.bfloat16, settings, embeddings=False)
    importance = mx.array(np.diagonal(moments).astype(np.float32))
    rounded = search(weight, 3, 32, mx.bfloat16, importance)

    def off(affine: Affine) -> float:
        lost = np.array(weight - decode(affine, 32), dtype=np.float64)
        return float(np.square(x[1000:] @ lost.T).mean())  # on inputs that it was not fitted to

    assert off(solved) < 0.75 * off(rounded)


def test_heads_that_have_no_grid_of_their_own_are_left_alone(tmp_path: Path) -> None:
    work = Work("llama", tmp_path)
    given = Quantize("rtn", 4, 32, "mxfp4", "search", None, "none")
    found = work.run(tmp_path / "out", given)
    assert [*found] == ["chosen.json"]
    with read_chosen(tmp_path / "out") as chosen:
        assert not chosen.layers and not chosen.tensors
