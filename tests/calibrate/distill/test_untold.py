"""What calibration told nothing of is not trained, and the finished model says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate.importances import read_importances
from mlxforge.calibrate.statistics import write_statistics
from mlxforge.calibrate.windows import Windows
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.quantize import Quantize
from tests.calibrate.distill.common import PLAIN as SETTINGS
from tests.calibrate.distill.common import quiet, rounded
from tests.checkpoints import PLAIN, write
from tests.checkpoints.hybrid import HYBRID

RANDOM = np.random.default_rng(7)
WINDOWS = Windows(*(RANDOM.integers(0, 500, size=(n, 24)).astype(np.int32) for n in (5, 8)))


Tensors = dict[str, mx.array]


def unquantized(*layers: str) -> tuple[dict[str, Any], ...]:
    """Rules that leave them as they are."""
    nothing = dict.fromkeys(("bits", "group_size", "mode", "scales"))
    return tuple({"layers": p, "quantize": False, "required": False, **nothing} for p in layers)


@dataclass(frozen=True)
class Room:
    """An architecture in 3 bits, and what calibration tells of it."""

    root: Path
    rules: tuple[dict[str, Any], ...]
    scope: str

    @classmethod
    def of(
        cls,
        name: str,
        root: Path,
        windows: Windows = WINDOWS,
        rules: Any = (),
        scope: str = "blocks",
    ) -> Room:
        source = write({**PLAIN, **HYBRID}[name](), root / "source")
        rounded(source, root, rules=rules)
        for kind in ("calibration", "chosen", "checkpoints", "model"):
            (root / kind).mkdir()
        windows.write(root / "calibration")
        table, model = Inspection(root / "layers").table, load_for_scoring(source, exact=True)
        write_statistics(model, table, windows.learned, root / "calibration", quiet)
        return cls(root, rules, scope)

    def train(self) -> None:
        wanted = {"iterations": 12, "batch_size": 2, "learning_rate": 0.02, "scope": self.scope}
        step = Dwq("dwq", 3, 64, **SETTINGS, overrides=self.rules, **wanted)
        step.run(self._inputs("start", "checkpoints"), self.root / "chosen", quiet)

    def made(self) -> tuple[Tensors, Tensors, Any]:
        """Tensors before and after training, and what ``mlxforge.json`` tells of the layers."""
        step = Quantize("dwq", 3, 64, **SETTINGS, overrides=self.rules)
        step = replace(step, scales="search")
        step.run(self._inputs("start", "chosen"), self.root / "model", quiet)
        before, after = (
            dict(mx.load(str(self.root / folder / "model.safetensors")))
            for folder in ("start", "model")
        )
        record = json.loads((self.root / "model" / "mlxforge.json").read_bytes())
        return before, after, record["layers"]

    def _inputs(self, *more: str) -> dict[str, Path]:
        return {kind: self.root / kind for kind in ("source", "layers", "calibration", *more)}


def trained(*wanted: Any) -> tuple[Tensors, Tensors, Any]:
    room = Room.of(*wanted)
    room.train()
    return room.made()


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_experts_that_saw_too_few_tokens_stay_as_they_are(name: str, tmp_path: Path) -> None:
    before, after, layers = trained(name, tmp_path)
    table = Inspection(tmp_path / "layers").table
    found = read_importances(tmp_path / "calibration", table)
    few = {path: entry.unknown() for path, entry in found.items() if entry.unknown()}
    said = {path: entry.get("experts_without_calibration") for path, entry in layers.items()}
    assert few and few == {path: experts for path, experts in said.items() if experts}
    moved = set()
    for path, part in product(few, ("scales", "biases")):
        pairs = zip(before[f"{path}.{part}"], after[f"{path}.{part}"], strict=True)
        changed = {number for number, pair in enumerate(pairs) if not mx.array_equal(*pair)}
        assert not changed & {*few[path]}
        moved |= {(path, number) for number in changed}
    assert moved


def test_layers_that_nothing_was_led_through_are_told(tmp_path: Path) -> None:
    """deepseek_v3 has projections of a class of their own."""
    before, after, layers = trained("deepseek_v3", tmp_path)
    untold = {path for path, entry in layers.items() if entry.get("without_calibration")}
    assert {path.rpartition(".")[2] for path in untold} == {"embed_q", "unembed_out"}
    for path in untold:
        assert mx.array_equal(before[f"{path}.scales"], after[f"{path}.scales"])


FEW = Windows(WINDOWS.learned[:2], WINDOWS.learned[:2])  # to be better on these is enough


@pytest.mark.parametrize("scope", ["blocks", "model"])
def test_a_model_of_which_nothing_can_be_trained_stays_as_it_is(scope: str, tmp_path: Path) -> None:
    only_experts = unquantized("attention", "embeddings", "lm_head", "router")
    before, after, layers = trained("mixtral", tmp_path, FEW, only_experts, scope)
    assert before.keys() == after.keys()
    assert all(mx.array_equal(value, after[name]) for name, value in before.items())
    told = [entry for entry in layers.values() if "experts_without_calibration" in entry]
    assert len(told) == 6  # three projections of two blocks


def test_a_model_is_not_trained_again_for_a_block_of_which_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run that has kept the values of all stages has nothing left to do."""
    rules = unquantized("model.layers.0.self_attn.*", "router")
    room = Room.of("mixtral", tmp_path, FEW, rules, "model")
    room.train()
    monkeypatch.setattr("mlxforge.calibrate.distill.train.solve", None)
    room.train()
    before, after, _ = room.made()
    moved = {name for name, value in before.items() if not mx.array_equal(value, after[name])}
    assert "model.layers.1.self_attn.q_proj.scales" in moved
    assert not {name for name in moved if name.startswith("model.layers.0.")}
