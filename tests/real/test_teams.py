"""A real model over the Hub: one locks, builds and publishes, another builds the same, a third
downloads what was published and talks to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from tests.conftest import Workspace
from tests.hub.server import TOKEN, Hub

SOURCE, TARGET = "acme/SmolLM2-135M-Instruct", "acme/SmolLM2-135M-Instruct-8bit"
SHARDS = 3
RECIPE = f"""\
source: {{repo: {SOURCE}}}
quantize: {{bits: 8}}
evaluate:
  text: {{path: wiki.txt}}
  samples: 2
  sequence_length: 128
  prompts: ["What is the capital of France?"]
  max_tokens: 8
upload: {{repo: {TARGET}}}
"""


def sharded(folder: Path) -> dict[str, bytes]:
    """The files of the model with its weights in several, cut in the middle of layers."""
    weights = mx.load(str(folder / "model.safetensors"))
    assert isinstance(weights, dict)
    names = sorted(weights)
    scratch = folder.parent / "sharded"
    scratch.mkdir(exist_ok=True)
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".safetensors"}
    where = {}
    for number in range(SHARDS):
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        mine = names[number::SHARDS]
        mx.save_safetensors(str(scratch / file), {name: weights[name] for name in mine})
        files[file] = (scratch / file).read_bytes()
        where |= dict.fromkeys(mine, file)
    shutil.rmtree(scratch)
    index = {"metadata": {}, "weight_map": where}
    front = b"---\nlicense: apache-2.0\nlanguage:\n- en\n---\n# SmolLM2\n"
    return files | {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "README.md": front,
        "LICENSE": b"Apache License, Version 2.0",
    }


@pytest.fixture
def hub(tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        running.commit(SOURCE, sharded(downloads / "smollm2"))
        yield running


def clone(root: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Another machine, as it were: an empty project and an empty cache."""
    monkeypatch.setenv("HF_HOME", str(root / "hf-home"))
    workspace = Workspace(root / "project")
    (workspace.root / "recipes" / "wiki.txt").symlink_to(downloads / "wiki.txt")
    workspace.recipe("smol", RECIPE)
    return workspace


def digest(workspace: Workspace) -> str:
    (artifact,) = workspace.artifacts("quantize")
    return str(json.loads((artifact / "manifest.json").read_text())["digest"])


ANSWER = """\
import sys
import mlx.core as mx
from huggingface_hub import snapshot_download
from mlx_lm import generate, load
model, tokenizer = load(snapshot_download(sys.argv[1]))
model.set_dtype(mx.float32)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "What is the capital of France?"}],
    add_generation_prompt=True, return_dict=False)
print(generate(model, tokenizer, prompt, max_tokens=12))
"""


def test_three_people_have_the_same_model(
    hub: Hub, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = clone(tmp_path / "first", downloads, monkeypatch)
    locked = first.doit("lock", "smol")
    assert locked.returncode == 0, locked.stderr
    assert [name for name in hub.downloads() if "safetensors" in name] == []
    first.build("smol")
    sent = first.doit("upload", "smol")
    assert sent.returncode == 0 and "published   " in sent.stdout, sent.stdout + sent.stderr
    card = hub.files(TARGET)["README.md"].decode()
    assert f"base_model: {SOURCE}\nbase_model_relation: quantized" in card
    assert "type: perplexity" in card and "model.layers.*.self_attn.q_proj" in card

    second = clone(tmp_path / "second", downloads, monkeypatch)
    lock = (first.root / "recipes" / "smol.lock").read_bytes()
    (second.root / "recipes" / "smol.lock").write_bytes(lock)
    moved = hub.files(SOURCE) | {"generation_config.json": b"{}", "config.json": b"{}"}
    hub.commit(SOURCE, moved)
    second.build("smol")
    assert digest(second) == digest(first)
    assert (second.root / "recipes" / "smol.lock").read_bytes() == lock

    third = subprocess.run(
        [sys.executable, "-c", ANSWER, TARGET],
        env=os.environ | {"HF_HOME": str(tmp_path / "third")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert third.returncode == 0, third.stderr
    assert "Paris" in third.stdout
