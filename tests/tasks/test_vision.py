"""Models that see, by the real command: built, shown images, and refused what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.vision.once import once
from tests.conftest import DEMO, Workspace

TEXT = f"  text: {{path: {DEMO / 'heldout.txt'}}}\n  samples: 2\n  sequence_length: 32\n"


def recipe(source: Path, evaluate: str) -> str:
    return f"source: {{path: {source}}}\nquantize: {{bits: 4}}\nevaluate:\n{evaluate}"


def result(workspace: Workspace) -> dict[str, Any]:
    (found,) = workspace.artifacts("evaluate")
    document: dict[str, Any] = json.loads(next(found.rglob("result.json")).read_bytes())
    return document


def test_a_model_is_shown_every_drawing_and_compared_with_its_source(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = once("qwen2_vl", tmp_path_factory)
    workspace.recipe("seeing", recipe(source, TEXT + "  max_tokens: 5\n"))
    told = workspace.build("seeing")
    images = result(workspace)["images"]
    assert [entry["image"] for entry in images] == ["plot", "shapes", "text"]
    for entry in images:
        assert 0 < entry["kl_divergence"] < 1
        assert 0 <= entry["top1_agreement"] <= 1
        assert 1 <= entry["tokens"] <= 5
        assert f"image       {entry['image']}: {entry['question']} (KL " in told
    assert told.count("  source      ") == 3
    assert "try it      mlx_vlm.generate --model cache/models/seeing --image IMAGE.png" in told
    (answers,) = workspace.artifacts("answers")
    assert {path.name for path in answers.rglob("*.png")} == {"plot.png", "shapes.png", "text.png"}
    again = workspace.doit("build", "seeing")
    assert "quantize" not in again.stderr and again.returncode == 0


def test_one_that_is_not_scored_is_not_shown_anything(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = once("llava", tmp_path_factory)
    workspace.recipe("plain", f"source: {{path: {source}}}\nquantize: {{bits: 4}}\n")
    workspace.build("plain")
    assert workspace.artifacts("answers") == []
    assert (workspace.cache / "models/plain/chat_template.json").is_file()


def test_a_model_without_processor_files_is_refused(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    source = tmp_path / "blind"
    shutil.copytree(once("qwen2_vl", tmp_path_factory), source)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (source / name).unlink(missing_ok=True)
    workspace.recipe("blind", recipe(source, TEXT))
    told = workspace.refused("build", "blind")
    assert "has no preprocessor_config.json or processor_config.json" in told
    assert "a qwen2_vl model could not be given an image" in told


def test_a_model_of_text_is_shown_no_image(workspace: Workspace) -> None:
    workspace.recipe("words", recipe(DEMO / "model", TEXT + "  images: [plot]\n"))
    told = workspace.refused("build", "words")
    assert "recipes/words.yaml:7:" in told
    assert "which sees no images" in told
