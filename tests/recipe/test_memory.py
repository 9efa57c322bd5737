"""What was read before is recalled for the same bytes, and for no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlxforge.recipe.load import Book, load_book

if TYPE_CHECKING:
    from tests.recipe.conftest import Project

ROOT = Path(__file__).parents[2]
FULL = """
extends: _base.yaml
quantize:
  overrides: [{layers: attention, bits: 8}, {layers: lm_head, quantize: false}]
calibrate:
  text: {dataset: acme/words}
evaluate:
  prompts: ["ü 𝄞"]
  require: {perplexity_increase: 0.30, top1_agreement: 90%}
upload: {repo: acme/full}
"""
BASE = """
source: {path: ../model}
evaluate: {text: {path: text.txt}}
"""
METHODS = """
extends: _base.yaml
name: m-${method}
matrix: {method: [gptq, awq, dwq]}
"""
DYNAMIC = """
extends: _base.yaml
quantize: {method: dynamic, refine: dwq, dynamic: {method: awq}, awq: {grid: 3}}
"""
FAMILY = 'extends: _base.yaml\nname: "f-${bits}"\nmatrix: {bits: [3, 8]}\n'


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "recipes.json"


@pytest.fixture
def written(project: Project) -> Project:
    project.write("_base.yaml", BASE)
    project.write("full.yaml", FULL)
    project.write("family.yaml", FAMILY)
    project.write("hub.yaml", "source: {repo: acme/demo, revision: v1}\nquantize: {method: none}\n")
    return project


def load(root: Path, memory: Path | None) -> Book:
    return load_book(root / "recipes", root, memory)


def assert_same(found: Book, wanted: Book) -> None:
    assert list(found.recipes) == list(wanted.recipes)
    assert {name: str(error) for name, error in found.errors.items()} == {
        name: str(error) for name, error in wanted.errors.items()
    }
    for name, recipe in wanted.recipes.items():
        assert found.recipes[name] == recipe
        assert repr(found.recipes[name]) == repr(recipe)  # positions too, which do not compare
        assert found.recipes[name].document == recipe.document
        assert found.recipes[name].positions == recipe.positions


@pytest.mark.parametrize("root", ["written", ROOT], ids=["all of the language", "our own"])
def test_what_is_recalled_is_what_was_read(
    root: Path | str, written: Project, memory: Path
) -> None:
    written.write("methods.yaml", METHODS)
    written.write("dynamic.yaml", DYNAMIC)
    folder = written.root if isinstance(root, str) else root
    assert_same(load(folder, memory), load(folder, None))
    assert memory.exists()
    assert_same(load(folder, memory), load(folder, None))


def test_what_is_recalled_needs_no_parser(written: Project, memory: Path) -> None:
    load(written.root, memory)
    code = (
        "import sys; from pathlib import Path; from mlxforge.recipe.load import load_book\n"
        f"root = Path({str(written.root)!r})\n"
        f"book = load_book(root / 'recipes', root, Path({str(memory)!r}))\n"
        "assert list(book.recipes) == ['f-3', 'f-8', 'full', 'hub']\n"
        "assert 'yaml' not in sys.modules\n"
        "assert book.recipes['full'].positions['quantize', 'overrides', 0, 'bits'].line == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["full.yaml", "_base.yaml", "family.yaml"])
def test_other_bytes_are_read_even_when_size_and_times_are_forged(
    written: Project, memory: Path, name: str
) -> None:
    load(written.root, memory)
    file = written.root / "recipes" / name
    before = file.stat()
    text = file.read_text()
    for old, new in (("layers: attention, bits: 8", "layers: attention, bits: 6"),
                     ("../model", "../nodel"), ("[3, 8]", "[3, 6]")):  # fmt: skip
        text = text.replace(old, new)
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert_same(load(written.root, memory), load(written.root, None))


def test_a_recipe_that_breaks_is_told_and_one_that_goes_is_forgotten(
    written: Project, memory: Path
) -> None:
    load(written.root, memory)
    written.write("full.yaml", "source: {path: x}\nbits: 4\n")
    (written.root / "recipes" / "hub.yaml").unlink()
    book = load(written.root, memory)
    assert list(book.recipes) == ["f-3", "f-8"] and list(book.errors) == ["full"]
    assert "hub.yaml" not in memory.read_text()
    (written.root / "recipes" / "_base.yaml").unlink()
    assert_same(load(written.root, memory), load(written.root, None))


def test_a_name_that_another_file_takes_later_is_still_refused(
    written: Project, memory: Path
) -> None:
    load(written.root, memory)
    written.write("f-8.yaml", "source: {path: m}\n")
    assert "name makes 'f-8', which recipes/f-8.yaml:1:1 has taken" in str(
        load(written.root, memory).errors["family"]
    )
    (written.root / "recipes" / "f-8.yaml").unlink()
    written.write("g.yaml", 'source: {path: m}\nname: "f-${bits}"\nmatrix: {bits: [8]}\n')
    assert_same(load(written.root, memory), load(written.root, None))
    assert_same(load(written.root, memory), load(written.root, None))


def test_a_project_that_was_moved_finds_its_source_where_it_is_now(
    written: Project, memory: Path, tmp_path: Path
) -> None:
    load(written.root, memory)
    moved = tmp_path / "moved"
    shutil.copytree(written.root / "recipes", moved / "recipes")
    book = load(moved, memory)
    assert book.recipes["full"].source.path == moved / "model"
    assert_same(book, load(moved, None))


def test_a_damaged_memory_is_as_good_as_none(written: Project, memory: Path) -> None:
    load(written.root, memory)
    whole = memory.read_bytes()
    damaged = (b"", b"[]", b"{", b"\xff", b'{"made_by": 1}', whole[: len(whole) // 2])
    half = (b'"quantize"', b'"digest"', b'"at"', b'"recipes"', b'"parents"', b'"overrides"')
    for content in (*damaged, *(whole.replace(word, b'"other"') for word in half)):
        memory.write_bytes(content)
        assert_same(load(written.root, memory), load(written.root, None))


def test_where_there_is_no_store_nothing_is_written(written: Project, tmp_path: Path) -> None:
    load(written.root, tmp_path / "cache" / "recipes.json")
    assert not (tmp_path / "cache").exists()
