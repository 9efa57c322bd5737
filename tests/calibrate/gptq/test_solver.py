"""The step gptq: layers solved on what those before them make, killed at any layer, and gone on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlxforge.calibrate.observe import observed
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.leaves.fixed import fix_weight, weight_of
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.loader import Loader
from mlxforge.models.writing.chosen import PARTS
from mlxforge.quantize.affine import Affine, decode, unpack
from mlxforge.quantize.drift import compensated
from mlxforge.quantize.factor import prepare
from mlxforge.quantize.gptq import gptq, quantize
from mlxforge.quantize.search import search
from mlxforge.recipe.methods import Gptq as Settings
from mlxforge.recipe.model import Quantize
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.process import run_in_process
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID
from tests.checkpoints.vision import VISION

WANTED = Quantize("gptq", 3, 32, "affine", "search", None, "none", gptq=Settings(64, 0.03, True))


def silent(done: int, total: int, unit: str) -> None: ...


class Killed(Exception): ...


class Work:
    """A source, inspected, with tokens to learn from."""

    def __init__(self, name: str, folder: Path) -> None:
        place = folder / name
        text = {**PLAIN, **HYBRID}
        self.source = VISION[name](place) if name in VISION else write(text[name](), place)
        self.folder = folder
        for part in ("layers", "calibration"):
            (folder / part).mkdir()
        loader: Loader = "mlx_vlm" if name in VISION else "mlx_lm"
        self.step = Gptq.of(WANTED, loader=loader)
        Inspect(loader=loader).run({"source": self.source}, folder / "layers", silent)
        tokens = np.random.default_rng(1).integers(0, 500, size=(4, 48)).astype(np.int32)
        np.save(folder / "calibration" / "tokens.npy", tokens)
        model = load_for_scoring(self.source, exact=True)
        table = Inspection(folder / "layers").table
        write_statistics(model, table, tokens, folder / "calibration", silent)
        self.tokens = tokens

    def run(self, name: str, kept: str, killed_after: int | None = None) -> Path:
        out, checkpoints = self.folder / name, self.folder / kept
        out.mkdir()
        checkpoints.mkdir(exist_ok=True)

        def progress(done: int, total: int, unit: str) -> None:
            if done == killed_after:
                raise Killed

        inputs = {name: self.folder / name for name in ("layers", "calibration")}
        inputs |= {"source": self.source, "checkpoints": checkpoints}
        self.step.run(inputs, out, progress)
        return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "falcon_h1"])
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    name: str, tmp_path: Path
) -> None:
    work = Work(name, tmp_path)
    whole = work.run("whole", "a")
    for attempt, layers in enumerate((1, 5, 9)):
        with pytest.raises(Killed):
            work.run(f"killed{attempt}", "b", layers)
        # the layer whose end was not told any more is kept as well
        assert len(list((tmp_path / "b").glob("model-*.safetensors"))) == layers
    (tmp_path / "b" / "model-00010.part.safetensors").write_bytes(b"half")
    assert contents(work.run("resumed", "b")) == contents(whole)


def codes_of(out: Path, path: str) -> Affine:
    document = json.loads((out / "chosen.json").read_bytes())
    number = document["layers"].index(path) + 1
    found = mx.load(str(out / f"model-{number:05d}.safetensors"))
    words, scales, biases = (found[f"{path}.{part}"] for part in PARTS)
    return Affine(unpack(words, 3), scales, biases)


def inputs_of(model: nn.Module, path: str, tokens: np.ndarray) -> np.ndarray:
    seen: list[np.ndarray] = []
    with observed(model, [path], lambda _, x, __: seen.append(np.array(x, dtype=np.float64))):
        for window in tokens:
            mx.eval(model(mx.array(window[None])))
    return np.concatenate([x.reshape(-1, x.shape[-1]) for x in seen])


def test_the_first_layers_make_up_for_what_embeddings_have_become(tmp_path: Path) -> None:
    work = Work("llama", tmp_path)
    out = work.run("out", "kept")
    source, model = (load_for_scoring(work.source, exact=True) for _ in range(2))
    path, embeddings = "model.layers.0.self_attn.q_proj", "model.embed_tokens"
    modules = dict(model.named_modules())
    plain = search(weight_of(modules[embeddings]), 3, 32, mx.bfloat16)
    assert mx.array_equal(codes_of(out, embeddings).codes, plain.codes)
    fix_weight(modules[embeddings], [plain])
    x, meant = inputs_of(model, path, work.tokens), inputs_of(source, path, work.tokens)
    hessian = x.T @ x / len(x)
    factor = prepare(hessian, damping=0.03)
    drift = ((meant - x).T @ x / len(x)).astype(np.float32)
    weight = weight_of(modules[path])
    weight = compensated(weight, factor, np.array(weight) @ drift)
    expected = quantize(weight, factor, 3, 32, mx.bfloat16, block_size=64)
    mine = codes_of(out, path)
    # sums of products are rounded in another order, which moves a code or a scale here and there
    assert (mine.codes == expected.codes).mean() > 0.98

    def error(affine: Affine) -> float:
        off = np.array(weight - decode(affine, 32), dtype=np.float64)
        return float(np.einsum("rc,cd,rd->", off, hessian, off))

    assert error(mine) == pytest.approx(error(expected), rel=0.01)


def test_embeddings_that_are_the_head_are_solved_for_both_uses(tmp_path: Path) -> None:
    work = Work("gemma3_text", tmp_path)
    out = work.run("out", "kept")
    model = load_for_scoring(work.source, exact=True)
    path = "model.embed_tokens"
    x = inputs_of(model, path, work.tokens)
    head = x.T @ x / len(x)
    both = head / np.diagonal(head).mean() + 0.2 * np.eye(len(head))
    weight = weight_of(dict(model.named_modules())[path])
    expected = gptq(weight, both, 3, 32, mx.bfloat16, damping=0.03, block_size=64)
    assert (codes_of(out, path).codes == expected.codes).mean() > 0.98


def test_experts_that_saw_too_few_tokens_are_rounded_and_reported(tmp_path: Path) -> None:
    work = Work("qwen3_moe", tmp_path)
    np.save(tmp_path / "calibration" / "tokens.npy", work.tokens[:2])
    document = json.loads((work.run("out", "kept") / "chosen.json").read_bytes())
    unknown = document["experts_without_calibration"]
    assert unknown and all(".switch_mlp." in path for path in unknown)


@pytest.mark.skipif(sys.platform != "linux", reason="chooses cores")
def test_one_core_and_two_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work("llama", tmp_path)
    found = []
    for threads, cores in (("1", {0}), ("2", os.sched_getaffinity(0))):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        inputs = {name: tmp_path / name for name in ("layers", "calibration")}
        inputs |= {"source": work.source, "checkpoints": tmp_path / f"kept{threads}"}
        out = tmp_path / f"out{threads}"
        for folder in (out, inputs["checkpoints"]):
            folder.mkdir()
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            run_in_process(Gptq.of(WANTED), inputs, out, tmp_path / "log", silent)
        finally:
            os.sched_setaffinity(0, before)
        found.append(contents(out))
    assert found[0] == found[1]


def test_a_head_that_a_loader_copies_from_the_embeddings_has_their_codes(tmp_path: Path) -> None:
    work = Work("gemma3", tmp_path)
    out = work.run("out", "kept")
    layers = json.loads((out / "chosen.json").read_bytes())["layers"]
    head = next(path for path in layers if path.endswith("lm_head"))
    embeddings = next(path for path in layers if path.endswith("embed_tokens"))
    parts = [
        mx.load(str(out / f"model-{layers.index(path) + 1:05d}.safetensors"))
        for path in (head, embeddings)
    ]
    for part in PARTS:
        assert mx.array_equal(parts[0][f"{head}.{part}"], parts[1][f"{embeddings}.{part}"])
    with pytest.raises(Killed):
        work.run("killed", "b", len(layers) - 2)
    assert contents(work.run("resumed", "b")) == contents(out)
