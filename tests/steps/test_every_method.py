"""Every method on every architecture: steps as a build chains them, one after the other; what
comes out is loaded strictly, says finite things and is not far from its source.

By default architectures take turns, and each tries one method; ``MLXFORGE_EVERY=1`` tries all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.dynamic.records import read_sensitivities
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.calibrate.windows import Windows
from mlxforge.local import Local
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.size import model_size
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.layers.widths import choose_widths
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.source.loader import Loader
from mlxforge.nodes import Node
from mlxforge.recipe.methods import Awq, Dwq, Dynamic, Gptq
from mlxforge.recipe.model import Quantize
from mlxforge.stages import measuring, weights
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.source import Wants
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID
from tests.checkpoints.vision import VISION
from tests.checkpoints.vision.once import once

TEXT = {**PLAIN, **HYBRID}
RTN = Quantize("rtn", 4, 32, "affine", "search", None, "none")
WANTED = {
    "searched": RTN,
    "gptq": replace(RTN, method="gptq", gptq=Gptq(64, 0.03, True)),
    "awq": replace(RTN, method="awq", awq=Awq(4, clip=True)),
    "awq, then gptq, then dwq": replace(
        RTN, method="gptq", prepare="awq", refine="dwq", awq=Awq(4, clip=True),
        gptq=Gptq(64, 0.03, True), dwq=Dwq(2, 2, 0.01, 1.0, "blocks", norms=True),
    ),
    "dwq": replace(RTN, method="dwq", dwq=Dwq(2, 2, 0.01, 1.0, "blocks", norms=False)),
    "gptq, then dwq": replace(
        RTN, method="gptq", refine="dwq",
        gptq=Gptq(64, 0.03, True), dwq=Dwq(2, 2, 0.01, 1.0, "blocks", norms=False),
    ),
    "dynamic": replace(RTN, method="dynamic", dynamic=Dynamic(4.9, 2, 8, "rtn")),
    "dynamic, awq, gptq": replace(
        RTN, method="dynamic", prepare="awq", dynamic=Dynamic(4.9, 2, 8, "gptq"),
        awq=Awq(4, clip=True), gptq=Gptq(64, 0.03, True),
    ),
}  # fmt: skip
WINDOWS = np.random.default_rng(2).integers(3, 250, size=(9, 16)).astype(np.int32)
TOKENS = mx.array(np.random.default_rng(4).integers(3, 250, size=(2, 16)))
FAR = 0.5  # of the logits' variance, in 4 bits of random weights


class Bench:
    """Runs steps in this process, each once, in folders below ``root``."""

    def __init__(self, root: Path, source: Path, loader: Loader) -> None:
        self.root, self.source = root, source
        self.wants: Wants = {"loader": loader}
        self.local = Local(source, "source")
        self.inspect = Node(Inspect(**self.wants), (("source", self.local),))
        self.inputs = (("layers", self.inspect), ("source", self.local))
        self.calibrate = Node(Calibrate(len(WINDOWS), 16, 0, **self.wants), self.inputs)
        self.drawn = Node(Calibrate.drawn(**self.wants), self.inputs)
        self._learn()

    def folder(self, node: Node | Local) -> Path:
        if isinstance(node, Local):
            return node.path
        out = self.root / f"{node.kind}-{node.key[:12]}"
        if not out.is_dir():
            inputs = {name: self.folder(value) for name, value in node.inputs}
            if node.step.checkpoints:
                inputs["checkpoints"] = self.root / f"{out.name}-checkpoints"
                inputs["checkpoints"].mkdir()
            out.mkdir()
            node.step.run(inputs, out, quiet)
        return out

    def model(self, wanted: Quantize) -> Path:
        learned = self.drawn if wanted == RTN else self.calibrate  # which names no text
        made = weights(Node, self._chosen(wanted), self.inputs, learned, self.wants)
        return self.folder(made)

    @property
    def table(self) -> LayerTable:
        return Inspection(self.folder(self.inspect)).table

    def _chosen(self, wanted: Quantize) -> Quantize:
        if wanted.dynamic is None:
            return wanted
        node = measuring(Node, wanted, self.inputs, self.calibrate, self.wants)
        assert node is not None
        found = read_sensitivities(self.folder(node))
        costs = {path: entry.at for path, entry in found.items()}
        assignments = assign(self.table, wanted)
        target = model_size(assignments, None).bits_per_weight  # of 4 bits everywhere
        aim = replace(wanted.dynamic, target_bits_per_weight=target)
        widths = choose_widths(self.table, assignments, None, aim, costs)
        assert target - 0.1 < widths.bits_per_weight <= target
        return replace(wanted, widths=tuple(widths.bits.items()))

    def _learn(self) -> None:
        """The artifact of ``calibrate``: these models have no tokenizer that a text is worth."""
        out = self.root / f"calibrate-{self.calibrate.key[:12]}"
        out.mkdir()
        Windows(WINDOWS, WINDOWS[:0]).write(out)
        model = load_for_scoring(self.source, keep=False, exact=True)
        write_statistics(model, self.table, WINDOWS, out, quiet)


def quiet(done: int, total: int, unit: str) -> None: ...


def logits(folder: Path) -> np.ndarray:
    return np.array(load_for_scoring(folder, exact=True)(TOKENS).astype(mx.float32))


def spoken(folder: Path, loader: Loader) -> list[int]:
    """The likeliest tokens after a few, said by the library itself, which loads strictly."""
    if loader == "mlx_lm":
        from mlx_lm.generate import generate_step
        from mlx_lm.utils import load_model

        model, _ = load_model(folder, strict=True)
        return [int(token) for token, _ in generate_step(TOKENS[0], model, max_tokens=4)]
    from mlx_vlm.utils import load_model as load_seeing

    model = load_seeing(folder, strict=True)
    said = mx.argmax(model.language_model(TOKENS[:1]).logits[0, -4:], axis=-1)
    return [int(token) for token in said]


def turns(names: Iterable[str]) -> dict[str, list[str]]:
    """By architecture the methods that it tries."""
    methods = [*WANTED]
    if os.environ.get("MLXFORGE_EVERY"):
        return dict.fromkeys(names, methods)
    return {name: [methods[turn % len(methods)]] for turn, name in enumerate(names)}


TEXT_TURNS, VISION_TURNS = turns(TEXT), turns(sorted(VISION))


def check(bench: Bench, methods: Sequence[str], loader: Loader) -> None:
    exact = logits(bench.source)
    for name in methods:
        model = bench.model(WANTED[name])
        found = logits(model)
        assert np.isfinite(found).all(), name
        assert np.square(found - exact).mean() < FAR * exact.var(), name
        assert len(spoken(model, loader)) == 4, name


@pytest.mark.parametrize("name", TEXT)
def test_text(name: str, tmp_path: Path) -> None:
    mx.random.seed(3)
    source = write(TEXT[name](), tmp_path / "source")
    check(Bench(tmp_path, source, "mlx_lm"), TEXT_TURNS[name], "mlx_lm")


@pytest.mark.parametrize("name", sorted(VISION))
def test_vision(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = Bench(tmp_path, once(name, tmp_path_factory), "mlx_vlm")
    check(bench, VISION_TURNS[name], "mlx_vlm")
