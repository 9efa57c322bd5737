"""The steps that score: what they read and what they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlxforge.steps.baseline import Baseline
from mlxforge.steps.evaluate import Evaluate
from tests.conftest import DEMO

TEXT = next(DEMO.rglob("heldout.txt"))


def quiet(done: int, total: int, unit: str) -> None: ...


@pytest.fixture
def baseline(tiny: Callable[..., Path], tmp_path: Path) -> Path:
    out = tmp_path / "baseline"
    out.mkdir()
    Baseline(3, 32).run({"source": tiny(tied=True), "text": TEXT}, out, quiet)
    return out


def evaluate(step: Evaluate, inputs: dict[str, Path], out: Path) -> dict[str, object]:
    out.mkdir()
    step.run(inputs, out, quiet)
    result: dict[str, object] = json.loads((out / "result.json").read_bytes())
    return result


def test_a_baseline_holds_tokens_states_and_perplexity(baseline: Path) -> None:
    assert np.load(baseline / "tokens.npy").shape == (3, 32)
    states = np.load(baseline / "states.npy")
    assert states.shape == (3, 31, 128) and states.dtype == np.float32
    document = json.loads((baseline / "baseline.json").read_bytes())
    assert document["whole_logits"] is False and document["perplexity"]["tokens"] == 93
    assert document["arithmetic"].startswith("CPU, float32, ")


def test_perplexity_alone_does_not_touch_the_source(
    baseline: Path, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    inputs = {"model": tiny(tied=True), "baseline": baseline, "source": tmp_path / "nowhere"}
    (baseline / "states.npy").unlink()
    result = evaluate(Evaluate(("perplexity",), (), 0), inputs, tmp_path / "out")
    document = json.loads((baseline / "baseline.json").read_bytes())
    assert result["figures"] == {"perplexity": document["perplexity"]}


def test_all_metrics_of_the_source_itself(
    baseline: Path, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    inputs = {"model": tiny(tied=True), "baseline": baseline, "source": tiny(tied=True)}
    metrics = ("perplexity", "kl_divergence", "top1_agreement")
    result = evaluate(Evaluate(metrics, ("What is it?",), 3), inputs, tmp_path / "out")
    figures = result["figures"]
    assert isinstance(figures, dict) and set(figures) == set(metrics)
    assert figures["kl_divergence"]["max"] < 1e-9 and figures["top1_agreement"] == 1
    samples = result["samples"]
    assert isinstance(samples, list) and samples[0]["prompt"] == "What is it?"
