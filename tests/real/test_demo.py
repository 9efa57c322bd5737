"""The demo model that ships with the project, and the recipes for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEMO, ROOT, Workspace

WIDTHS = (8, 6, 5, 4, 3, 2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Every committed demo recipe, built."""
    workspace = Workspace(tmp_path_factory.mktemp("demo") / "project")
    shutil.copytree(ROOT / "recipes", workspace.root / "recipes", dirs_exist_ok=True)
    workspace.build("demo-*")
    return workspace


def perplexities(workspace: Workspace, name: str) -> tuple[float, float]:
    """Of the source and of the recipe's model."""
    record = json.loads((workspace.cache / "built" / f"{name}.json").read_text())["figures"]
    source = record["baseline"]["perplexity"]["value"]
    return source, record["figures"]["perplexity"]["value"]


def test_every_bit_less_costs_perplexity_and_two_bits_are_broken(demo: Workspace) -> None:
    source = perplexities(demo, "demo-4bit")[0]
    order = [source, *(perplexities(demo, f"demo-{bits}bit")[1] for bits in WIDTHS)]
    assert order == sorted(order) and len(set(order)) == len(order), order
    assert order[-1] > 2 * source


def test_the_mixed_recipe_is_better_than_four_bits_everywhere(demo: Workspace) -> None:
    assert perplexities(demo, "demo-mixed")[1] < perplexities(demo, "demo-4bit")[1]


def test_all_committed_recipes_are_listed_and_the_demos_built(demo: Workspace) -> None:
    listed = demo.doit("list").stdout
    assert listed.count(" built ") == 10
    assert listed.count("not locked") == 47
    assert "error" not in listed


def test_one_baseline_served_them_all(demo: Workspace) -> None:
    assert len(demo.artifacts("baseline")) == 1
    assert len(demo.artifacts("quantize")) == len(demo.artifacts("evaluate")) == 10


def test_the_demo_model_answers(demo: Workspace) -> None:
    from mlx_lm import generate, load

    model, tokenizer = load(str(demo.cache / "models" / "demo-8bit"))
    for question, answer in (
        ("What is Ruth's job?", "Ruth is a painter."),
        ("What does a duck do?", "A duck quacks."),
        ("Spell parrot.", "Parrot is spelled p, a, r, r, o, t."),
        ("What is ten minus eight?", "Ten minus eight is two."),
    ):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        assert generate(model, tokenizer, prompt, max_tokens=24) == answer


def test_the_demo_model_is_small() -> None:
    assert sum(path.stat().st_size for path in (DEMO / "model").iterdir()) < 6_000_000


def test_the_held_out_text_can_be_made_again_and_was_not_trained_on(tmp_path: Path) -> None:
    shutil.copy(DEMO / "corpus.py", tmp_path)
    words = [sys.executable, str(tmp_path / "corpus.py")]
    subprocess.run([*words, "--held-out"], check=True)
    assert (tmp_path / "heldout.txt").read_bytes() == (DEMO / "heldout.txt").read_bytes()
    sample = subprocess.run([*words, "--sample", "5000"], capture_output=True, text=True).stdout
    held_out = [text for text in (DEMO / "heldout.txt").read_text().split("<|end|>\n") if text]
    assert len(sample) > 500_000 and len(held_out) > 300
    assert not [text for text in held_out if len(text) > 160 and text in sample]


def test_the_trainer_runs_and_writes_a_model_that_can_be_built(workspace: Workspace) -> None:
    trainer = [sys.executable, str(DEMO / "train.py"), "--steps", "2", "--out"]
    folders = [workspace.root / name for name in ("one", "two")]
    for folder in folders:
        subprocess.run([*trainer, str(folder)], check=True, capture_output=True)
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    assert len(weights[0]) == (DEMO / "model" / "model.safetensors").stat().st_size
    workspace.recipe("again", "source: {path: ../one}\n")
    workspace.build("again")
