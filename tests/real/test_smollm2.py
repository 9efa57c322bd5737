"""The whole pipeline on a real trained model and real English: SmolLM2-135M-Instruct."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Workspace

WINDOWS, LENGTH = 4, 256

SHARED = f"""\
source: {{path: ../smollm2}}
evaluate:
  text: {{path: ../wiki.txt}}
  samples: {WINDOWS}
  sequence_length: {LENGTH}
"""
RECIPES = {
    "_smol": SHARED,
    "bits": "extends: _smol.yaml\nname: smol-${bits}bit\nmatrix: {bits: [3, 4, 6, 8]}\n",
    "smol-mixed": "extends: _smol.yaml\nquantize:\n  overrides:\n"
    "    - {layers: attention, bits: 8}\n    - {layers: mlp, bits: 4}\n",
    "smol-mxfp8": "extends: _smol.yaml\nquantize: {mode: mxfp8}\n",
}
BUILT = ("smol-8bit", "smol-6bit", "smol-4bit", "smol-3bit", "smol-mixed", "smol-mxfp8")


@pytest.fixture(scope="module")
def smol(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All of the recipes, built."""
    workspace = Workspace(tmp_path_factory.mktemp("smol") / "project")
    for name in ("smollm2", "wiki.txt"):
        (workspace.root / name).symlink_to(downloads / name)
    for name, text in RECIPES.items():
        workspace.recipe(name, text)
    workspace.build("smol-*")
    return workspace


def figures(workspace: Workspace, name: str) -> Any:
    return json.loads((workspace.cache / "built" / f"{name}.json").read_text())["figures"]


def perplexity(workspace: Workspace, name: str) -> float:
    return float(figures(workspace, name)["figures"]["perplexity"]["value"])


def test_fewer_bits_cost_more_perplexity(smol: Workspace) -> None:
    source = figures(smol, "smol-8bit")["baseline"]["perplexity"]["value"]
    order = [perplexity(smol, f"smol-{bits}bit") for bits in (8, 6, 4, 3)]
    assert order == sorted(order) and len(set(order)) == len(order), order
    assert source < order[1] < 1.1 * source and order[3] > 2 * source
    # between the source and 8 bit lies less than the text's own noise, of either sign:
    # window by window the losses differ by up to 0.006 nats, and their mean by under 0.001
    assert abs(order[0] / source - 1) < 0.005


def test_the_divergence_orders_them_too(smol: Workspace) -> None:
    names = ("smol-8bit", "smol-6bit", "smol-mixed", "smol-4bit", "smol-3bit")
    found = [figures(smol, name)["figures"]["kl_divergence"]["mean"] for name in names]
    assert found == sorted(found), found
    agreement = [figures(smol, name)["figures"]["top1_agreement"] for name in names]
    assert agreement == sorted(agreement, reverse=True), agreement


def test_attention_at_eight_bits_lies_between(smol: Workspace) -> None:
    assert perplexity(smol, "smol-6bit") < perplexity(smol, "smol-mixed")
    assert perplexity(smol, "smol-mixed") < perplexity(smol, "smol-4bit")
    assert perplexity(smol, "smol-mxfp8") < perplexity(smol, "smol-4bit")


def test_one_source_was_scored_once(smol: Workspace) -> None:
    assert len(smol.artifacts("baseline")) == len(smol.artifacts("inspect")) == 1
    assert len(smol.artifacts("evaluate")) == len(BUILT)


EVAL_PPL = """\
import json, sys
from mlxforge.models.blas import load_blas
load_blas()
import mlx.core as mx, numpy as np
from mlx_lm import load
from mlx_lm.perplexity import eval_ppl
from mlx_lm.utils import dequantize_model
model = dequantize_model(load(sys.argv[1])[0])
model.set_dtype(mx.float32)
print(json.dumps(eval_ppl(model, mx.array(np.load(sys.argv[2])), batch_size=4)))
"""


def test_perplexity_is_mlx_lms_own_on_the_same_tokens(smol: Workspace) -> None:
    """mlx_lm's quantized kernels score one token a second on a CPU, so it dequantizes first."""
    tokens = smol.artifacts("baseline")[0] / "data" / "tokens.npy"
    model = smol.cache / "models" / "smol-4bit"
    done = subprocess.run(
        [sys.executable, "-c", EVAL_PPL, str(model), str(tokens)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs, error = json.loads(done.stdout.splitlines()[-1])
    ours = figures(smol, "smol-4bit")["figures"]["perplexity"]
    assert ours["tokens"] == WINDOWS * (LENGTH - 1)
    assert math.isclose(ours["value"], theirs, rel_tol=0.005)
    assert math.isclose(ours["standard_error"], error, rel_tol=0.02)


@pytest.mark.parametrize("name", ["smol-8bit", "smol-mixed"])
def test_mlx_lm_loads_it_and_answers(smol: Workspace, name: str) -> None:
    import mlx.core as mx
    from mlx_lm import generate, load

    model, tokenizer = load(str(smol.cache / "models" / name))
    model.set_dtype(mx.float32)  # ten times faster on a CPU
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert "Paris" in generate(model, tokenizer, prompt, max_tokens=12)


def test_what_was_built_verifies(smol: Workspace) -> None:
    done = smol.doit("verify", *BUILT)
    assert done.returncode == 0 and done.stdout.count("  ok  ") == 2 * len(BUILT)
