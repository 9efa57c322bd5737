"""The small vision checkpoints are what mlx_vlm takes a release for: it loads them strictly, reads
their processor files, and answers for an image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from PIL import Image, ImageDraw

from tests.checkpoints.vision import VISION
from tests.checkpoints.vision.once import once
from tests.checkpoints.vision.talk import answer

Folders = Callable[[str], Path]

LARGE = "phi3_v"
SMALL = sorted(set(VISION) - {LARGE})
PROMPT = "What is this?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return lambda name: once(name, tmp_path_factory)


def red_disc() -> Image.Image:
    image = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(image).ellipse((10, 10, 50, 50), fill="red")
    return image


def yellow_box() -> Image.Image:
    image = Image.new("RGB", (96, 64), "blue")
    ImageDraw.Draw(image).rectangle((40, 10, 90, 50), fill="yellow")
    return image


@pytest.mark.parametrize("name", SMALL)
def test_it_answers_by_what_the_image_shows(name: str, folders: Folders) -> None:
    disc = answer(folders(name), red_disc(), PROMPT, 8)
    assert len(disc) == 8
    assert disc == answer(folders(name), red_disc(), PROMPT, 8)
    assert disc != answer(folders(name), yellow_box(), PROMPT, 8)


@pytest.mark.parametrize("name", sorted(VISION))
def test_every_token_that_it_may_say_is_in_its_tokenizer(name: str, folders: Folders) -> None:
    config = json.loads((folders(name) / "config.json").read_text())
    rows = config.get("text_config", config)["vocab_size"]
    tokenizer = json.loads((folders(name) / "tokenizer.json").read_text())
    ids = {token["id"] for token in tokenizer["added_tokens"]}
    assert ids | set(tokenizer["model"]["vocab"].values()) == set(range(rows))


@pytest.mark.parametrize("name", sorted(VISION))
def test_its_tensors_lie_in_two_shards(name: str, folders: Folders) -> None:
    index = json.loads((folders(name) / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in folders(name).glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == shards
    assert len(shards) == 2
    for shard in shards:
        held = {tensor for tensor, file in index["weight_map"].items() if file == shard}
        assert set(mx.load(str(folders(name) / shard))) == held


@pytest.mark.parametrize("name", SMALL)
def test_made_again_it_has_the_same_bytes(name: str, folders: Folders, tmp_path: Path) -> None:
    again = VISION[name](tmp_path / name)
    for path in sorted(folders(name).iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
