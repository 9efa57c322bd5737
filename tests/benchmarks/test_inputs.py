"""What is measured on: real layouts, the same bytes every time, made once and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import weight_bytes
from benchmarks.inputs import Scratch
from benchmarks.inputs.models import LLAMA, LLAMA_10GB, QWEN3_MOE, Llama, Qwen3Moe
from benchmarks.inputs.projects import recipes_project, tasks_project
from mlxforge.errors import ForgeError
from mlxforge.models.source.files import read_tensors
from mlxforge.models.source.headers import read_header
from mlxforge.recipe.load import load_book

SMALL_LLAMA = Llama("small", 64, 128, layers=2, heads=4, kv_heads=2, shards=3, vocabulary=512)
SMALL_MOE = Qwen3Moe(
    "small-moe", 64, expert=32, experts=4, layers=2, heads=4, kv_heads=2, head=16, shards=2,
    vocabulary=512,
)  # fmt: skip


def made(model: Llama | Qwen3Moe, folder: Path) -> Path:
    folder.mkdir()
    model.make(folder)
    return folder


@pytest.mark.parametrize("model", [SMALL_LLAMA, SMALL_MOE], ids=lambda model: model.name)
def test_mlx_lm_takes_every_tensor_and_misses_none(model: Llama | Qwen3Moe, tmp_path: Path) -> None:
    from mlx.utils import tree_flatten
    from mlx_lm import load

    folder = made(model, tmp_path / "model")
    loaded, tokenizer = load(str(folder))
    values = sum(array.size for _, array in tree_flatten(loaded.parameters()))
    assert 2 * values == model.size == weight_bytes(folder)
    assert tokenizer.decode(tokenizer.encode("What does a duck do?")).endswith("duck do?")


@pytest.mark.parametrize("model", [SMALL_LLAMA, SMALL_MOE], ids=lambda model: model.name)
def test_a_seed_gives_the_same_bytes(model: Llama | Qwen3Moe, tmp_path: Path) -> None:
    folders = [made(model, tmp_path / name) for name in ("one", "two")]
    other = made(replace(model, seed=9), tmp_path / "other")
    for path in sorted(folders[0].iterdir()):
        content = path.read_bytes()
        assert content == (folders[1] / path.name).read_bytes()
        if path.suffix == ".safetensors":
            assert content != (other / path.name).read_bytes()


def test_the_shards_are_of_about_equal_size_and_in_the_index(tmp_path: Path) -> None:
    llama = replace(SMALL_LLAMA, layers=8)
    folder = made(llama, tmp_path / "model")
    shards = sorted(folder.glob("model-*-of-00003.safetensors"))
    sizes = [shard.stat().st_size for shard in shards]
    assert len(sizes) == 3 and max(sizes) < 2 * min(sizes)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == llama.size
    assert index["weight_map"] == {
        name: shard.name for shard in shards for name in read_header(shard)
    }


def test_weights_are_normal_and_norms_are_ones(tmp_path: Path) -> None:
    folder = made(SMALL_LLAMA, tmp_path / "model")
    for name, (path, info) in read_tensors(folder).items():
        raw = path.read_bytes()[info.start : info.end]
        values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        if "norm" in name:
            assert (values == 1).all()
        else:
            assert abs(values.std() - 0.02) < 0.002 and abs(values.mean()) < 0.002


def test_the_large_models_have_the_sizes_that_their_rows_speak_of() -> None:
    assert 2.0e9 < LLAMA.size < 2.4e9 and 1.8e9 < QWEN3_MOE.size < 2.4e9
    assert 9.5e9 < LLAMA_10GB.size < 10.5e9


@dataclass(frozen=True)
class Counted:
    """An input that says how often it was made; ``fails`` half way."""

    name: str = "counted"
    size: int = 4
    fails: bool = False

    def make(self, folder: Path) -> None:
        counter = folder.parent.parent / "count"
        times = int(counter.read_text()) + 1 if counter.exists() else 1
        counter.write_text(str(times))
        (folder / "file").write_text("half")
        if self.fails:
            raise OSError("no space")


def test_an_input_is_made_once_and_its_description_tells_versions_apart(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    first = scratch.folder(Counted())
    assert scratch.folder(Counted()) == first and (tmp_path / "count").read_text() == "1"
    assert scratch.missing([Counted()]) == 0
    changed = Counted(size=5)
    assert scratch.missing([changed, changed]) == 5
    assert scratch.folder(changed) != first and (tmp_path / "count").read_text() == "2"


def test_an_input_that_was_made_half_is_made_again(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            scratch.folder(Counted(fails=True))
    assert (tmp_path / "count").read_text() == "2"


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        Scratch(tmp_path).alone(),
        pytest.raises(ForgeError, match="running already"),
        Scratch(tmp_path).alone(),
    ):
        pass
    with Scratch(tmp_path).alone():
        pass


def test_a_disk_that_is_too_small_is_refused_with_the_bytes_needed(tmp_path: Path) -> None:
    with pytest.raises(ForgeError) as refused:
        Scratch(tmp_path).check_room(10**18)
    assert "needs 1000000001.1 GB" in refused.value.message
    assert "--scratch" in str(refused.value.hint)


def test_many_recipes_are_distinct_and_come_down_to_four_models(tmp_path: Path) -> None:
    recipes_project(tmp_path, 40)
    book = load_book(tmp_path / "recipes", tmp_path)
    assert not book.errors and len(book.recipes) == 40
    assert len({recipe.upload.repo for recipe in book.recipes.values() if recipe.upload}) == 40
    assert len({recipe.quantize for recipe in book.recipes.values()}) == 4
    lines = (tmp_path / "recipes" / "plain-0000.yaml").read_text().splitlines()
    assert len(lines) == 28


def test_plain_tasks_have_their_files(tmp_path: Path) -> None:
    tasks_project(tmp_path, 7)
    assert len(list((tmp_path / "in").iterdir())) == 7
    compile((tmp_path / "dodo.py").read_text(), "dodo.py", "exec")
