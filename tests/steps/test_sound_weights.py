"""Steps that work for long refuse what is no number before they begin, as rounding would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.statistics import write_statistics
from mlxforge.calibrate.windows import Windows
from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.recipe.methods import Awq as AwqSettings
from mlxforge.recipe.methods import Dynamic
from mlxforge.recipe.methods import Gptq as GptqSettings
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.awq import Awq
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.heads import Heads
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.learned import Learned
from mlxforge.steps.quantize import Quantize
from mlxforge.steps.sensitivity import Sensitivity
from tests.tiny import make_llama

WANTED = Wanted(
    "gptq", 4, 32, "affine", "search", None, "none", gptq=GptqSettings(64, 0.03, True),
    awq=AwqSettings(4, clip=True), dynamic=Dynamic(4.5, 2, 8, "gptq"),
)  # fmt: skip
STEPS = {"gptq": Gptq, "heads": Heads, "awq": Awq, "sensitivity": Sensitivity}
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
UNUSED = 450  # a token that the calibration lacks: nothing that is run meets its row
AGAIN = (
    "get the files again, or use another revision; `quantize: {allow_nonfinite: true}` goes on with"
)


def spoilt(root: Path, name: str, value: float, row: int = UNUSED) -> dict[str, Path]:
    """What a step is given: a source with ``value`` in ``name``, and what it takes to quantize."""
    inputs = {kind: root / kind for kind in ("source", "layers", "calibration", "checkpoints")}
    make_llama(inputs["source"], tied=False)
    for kind in ("layers", "calibration", "checkpoints"):
        inputs[kind].mkdir()
    file = inputs["source"] / "model.safetensors"
    weights = dict(mx.load(str(file)))  # type: ignore[call-overload]
    rows, columns = (mx.arange(size) for size in weights[name].shape)
    there = (rows == row)[:, None] & (columns == 7)
    weights[name] = mx.where(there, mx.array(value, weights[name].dtype), weights[name])
    mx.save_safetensors(str(file), weights, metadata={"format": "pt"})
    Inspect().run({"source": inputs["source"]}, inputs["layers"], quiet)
    tokens = np.random.default_rng(1).integers(0, 400, size=(4, 48)).astype(np.int32)
    Windows(tokens, tokens[:0]).write(inputs["calibration"])
    table = Inspection(inputs["layers"]).table
    model = load_for_scoring(inputs["source"], exact=True)
    write_statistics(model, table, tokens, inputs["calibration"], quiet)
    return inputs


def run(kind: type[Learned], wanted: Wanted, inputs: Mapping[str, Path], out: Path) -> None:
    out.mkdir()
    kind.of(wanted).run(inputs, out, quiet)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("name", [HEAD, EMBEDDINGS])
def test_what_calibration_does_not_meet_is_refused_all_the_same(
    tmp_path: Path, kind: str, name: str
) -> None:
    inputs = spoilt(tmp_path, name, float("nan"))
    with pytest.raises(ForgeError) as caught:
        run(STEPS[kind], WANTED, inputs, tmp_path / "out")
    assert str(caught.value).startswith(f"1 NaN among the 65,536 numbers of tensor {name!r}\n")
    assert AGAIN in str(caught.value)
    assert not [*(tmp_path / "out").iterdir(), *inputs["checkpoints"].iterdir()]


@pytest.mark.parametrize("kind", STEPS)
def test_so_is_what_the_wanted_dtype_cannot_hold(tmp_path: Path, kind: str) -> None:
    inputs = spoilt(tmp_path, HEAD, 1e5)
    with pytest.raises(ForgeError, match=r"1 of the .* lm_head.weight are too large for float16"):
        run(STEPS[kind], replace(WANTED, dtype="float16"), inputs, tmp_path / "out")


def test_calibration_names_the_weight_and_not_the_layer_behind_it(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(ForgeError) as caught:
        spoilt(tmp_path, name, float("nan"), row=3)
    assert str(caught.value).startswith("the inputs of model.layers.1.mlp.down_proj are not finite")
    (tmp_path / "out").mkdir()
    inputs = {kind: tmp_path / kind for kind in ("source", "layers", "checkpoints")}
    with pytest.raises(ForgeError) as caught:
        Calibrate.drawn().run(inputs, tmp_path / "out", quiet)
    assert str(caught.value).startswith(f"1 NaN among the 32,768 numbers of tensor {name!r}\n")


def test_on_wish_a_method_goes_on_with_it(tmp_path: Path) -> None:
    inputs, chosen = spoilt(tmp_path, HEAD, float("nan")), tmp_path / "chosen"
    wanted = replace(WANTED, allow_nonfinite=True)
    run(Gptq, wanted, inputs, chosen)
    (tmp_path / "out").mkdir()
    Quantize.of(wanted).run(inputs | {"chosen": chosen}, tmp_path / "out", quiet)
    made = dict(mx.load(str(tmp_path / "out" / "model.safetensors")))  # type: ignore[call-overload]
    broken = [name for name, found in made.items() if not mx.isfinite(found).all().item()]
    assert {*broken} == {"lm_head.scales", "lm_head.biases"}
    rows = mx.isfinite(made["lm_head.scales"]).all(axis=1)
    assert rows.sum().item() == len(rows) - 1


def quiet(done: int, total: int, unit: str) -> None:
    pass
