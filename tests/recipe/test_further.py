"""``source.files`` and ``source.remote_code``: what may be asked for, and what a pattern takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlxforge.errors import ForgeError
from mlxforge.locking import recipe_digest
from mlxforge.models.source.files import further_files, is_source_file
from mlxforge.recipe.further import Further, check_there
from mlxforge.recipe.load import load_book

if TYPE_CHECKING:
    from tests.recipe.conftest import Project

FOLDER = (
    ".gitattributes", "LICENSE", "README.md", "adapter.safetensors", "config.json",
    "extra_vocab.bin.json", "hf_quant_config.json", "model.gguf", "model.safetensors",
    "model.safetensors.index.json", "modeling_x.py", "notes.txt", "pytorch_model.bin",
    "tokenizer.json", "TRAINER.PKL", "words.model",
)  # fmt: skip


def test_both_kinds_of_source_have_them(project: Project) -> None:
    further = 'files: ["*.txt"], remote_code: [a.py, b.py]'
    for origin in ("repo: a/b", "path: m"):
        recipe = project.recipe(f"source: {{{origin}, {further}}}")
        assert recipe.source.further == Further(("*.txt",), ("a.py", "b.py"))
        assert recipe.document["source"]["files"] == ["*.txt"]
        assert recipe.document["source"]["remote_code"] == ["a.py", "b.py"]


def test_nothing_further_leaves_no_trace(project: Project) -> None:
    plain = project.recipe("source: {repo: a/b}")
    empty = project.recipe("source: {repo: a/b, files: [], remote_code: []}")
    assert empty.document == plain.document
    assert recipe_digest(empty) == recipe_digest(plain)


def test_a_child_replaces_what_its_parent_wants(project: Project) -> None:
    project.write("_base.yaml", "source: {repo: a/b, files: ['*.txt'], remote_code: [a.py]}")
    child = project.recipe("extends: _base.yaml\nsource: {remote_code: []}")
    assert child.source.further == Further(("*.txt",))


def test_a_remembered_recipe_wants_the_same(project: Project) -> None:
    project.write("mine.yaml", "source: {path: m, files: ['*.txt'], remote_code: [a.py]}")
    folder, memory = project.root / "recipes", project.root / "recipes.json"
    first = load_book(folder, project.root, memory).get("mine")
    assert memory.exists()
    again = load_book(folder, project.root, memory).get("mine")
    assert again == first and hash(again.source.further) == hash(first.source.further)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (
            "files: ['sub/*.txt']",
            "1:27: source.files[0] must be a name or a pattern in the source's top folder, "
            "without slashes, not 'sub/*.txt'",
        ),
        (
            "files: ['..\\evil']",
            "1:27: source.files[0] must be a name or a pattern in the source's top folder, "
            "without slashes, not '..\\\\evil'",
        ),
        (
            "files: ['*.txt', '*.py']",
            "1:36: source.files[1] is '*.py': code is not taken by a pattern\n"
            "  name it in source.remote_code: [NAME.py]",
        ),
        *(
            (
                f"files: ['{glob}']",
                f"1:27: source.files[0] is '{glob}': pickles are not taken, unpickling runs code\n"
                "  convert it to safetensors or JSON",
            )
            for glob in ("*.bin", "x.pt", "*.pth", "a*.ckpt", "*.PKL")
        ),
        (
            "files: ['*.safetensors']",
            "1:27: source.files[0] is '*.safetensors': further weights are not taken\n"
            "  a build reads model*.safetensors",
        ),
        (
            "files: '*.txt'",
            "1:26: source.files is '*.txt', not a list\n  a list is written [*.txt]",
        ),
        *(
            (
                f"remote_code: ['{name}']",
                "1:33: source.remote_code[0] must be the exact name of a Python file in the "
                f"source's top folder, not '{name}'",
            )
            for name in ("*.py", "a/b.py", "../a.py", "a.pyc", ".py", "[a].py", "a b.py")
        ),
        (
            "remote_code: [a.py, a.py]",
            "1:39: source.remote_code has 'a.py' twice\n  leave one out",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_told(project: Project, further: str, message: str) -> None:
    told = project.error(f"source: {{path: m, {further}}}")
    assert told == f"recipes/mine.yaml:{message}"


@pytest.mark.parametrize(
    ("globs", "taken"),
    [
        (("*",), {"extra_vocab.bin.json", "notes.txt", "words.model"}),
        (("*.json",), {"extra_vocab.bin.json"}),
        (("*.txt", "words.*"), {"notes.txt", "words.model"}),
        (("*.p[yk]*", "[.r]*", "README.md"), set()),
    ],
)
def test_a_pattern_takes_what_is_neither_code_nor_pickle_nor_weights_nor_ours(
    globs: tuple[str, ...], taken: set[str]
) -> None:
    assert set(further_files(FOLDER, Further(globs))) == taken


def test_code_is_a_source_file_where_it_is_named_and_nowhere_else() -> None:
    code = Further(("*",), ("modeling_x.py",))
    assert not is_source_file("modeling_x.py", Further(("*",)))
    assert is_source_file("modeling_x.py", code)
    assert not is_source_file("modeling_y.py", code)
    assert "modeling_x.py" not in further_files(FOLDER, code)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (Further(("*",), ("modeling_x.py",)), None),
        (Further(("tokenizer.json",)), None),
        (
            Further(("*.txt", "*.md")),
            "source.files[1] '*.md' takes no file of acme/x\n"
            "  code, pickles, weights, config.json and the card are never taken",
        ),
        (
            Further((), ("modeling_y.py",)),
            "source.remote_code[0] 'modeling_y.py' is not in acme/x\n"
            "  did you mean 'modeling_x.py'?",
        ),
        (
            Further((), ("tok.py",)),
            "source.remote_code[0] 'tok.py' is not in acme/x\n"
            "  the exact name of a file in its top folder",
        ),
    ],
)
def test_what_takes_nothing_is_told(further: Further, message: str | None) -> None:
    if message is None:
        check_there(further, FOLDER, {}, "acme/x")
        return
    with pytest.raises(ForgeError) as caught:
        check_there(further, FOLDER, {}, "acme/x")
    assert str(caught.value) == message
