"""Further files and code of a source: on the Hub and in a folder, named and not named."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.models import llama

from tests.conftest import DEMO, Workspace
from tests.hub.server import Hub
from tests.hub.test_hub_source import REPO, bytes_of, empty_cache, lock_of, source_of

TOKENIZER = "tokenization_tiny.py"
SIBLING = "words_tiny.py"
ARCHITECTURE = "my_llama.py"

LEAVE_A_MARK = """
import os
with open(os.environ["MARKS"], "a") as marks:
    marks.write("{name}\\n")
"""
CODE = {
    TOKENIZER: (
        LEAVE_A_MARK.format(name=TOKENIZER)
        + "from transformers import PreTrainedTokenizerFast\n"
        + "from .words_tiny import GREETING\n"
        + "class TinyTokenizer(PreTrainedTokenizerFast):\n"
        + "    greeting = GREETING\n"
    ).encode(),
    SIBLING: b"GREETING = 'hello'\n",
    ARCHITECTURE: (
        LEAVE_A_MARK.format(name=ARCHITECTURE)
        + inspect.getsource(llama).replace("from .", "from mlx_lm.models.")
    ).encode(),
}
EVALUATE = (
    f"evaluate: {{text: {{path: {DEMO / 'heldout.txt'}}}, samples: 1, sequence_length: 32, "
    "prompts: [hello], max_tokens: 2}\n"
)


def changed(document: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(document) | changes).encode()


@pytest.fixture
def tokenizer(model: dict[str, bytes]) -> dict[str, bytes]:
    """A model whose tokenizer is a class of its own, in two files."""
    classes = {"AutoTokenizer": [None, "tokenization_tiny.TinyTokenizer"]}
    name = "tokenizer_config.json"
    config = changed(model[name], tokenizer_class="TinyTokenizer", auto_map=classes)
    return model | {name: config, TOKENIZER: CODE[TOKENIZER], SIBLING: CODE[SIBLING]}


@pytest.fixture
def architecture(model: dict[str, bytes]) -> dict[str, bytes]:
    """A llama under another name, which only its own file knows."""
    config = changed(model["config.json"], model_type="my_llama", model_file=ARCHITECTURE)
    return model | {"config.json": config, ARCHITECTURE: CODE[ARCHITECTURE]}


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Which files of code have run so far."""
    file = tmp_path / "marks"
    monkeypatch.setenv("MARKS", str(file))
    return lambda: set(file.read_text().split()) if file.exists() else set()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def recipe(origin: str = f"repo: {REPO}", files: str = "", code: str = "", more: str = "") -> str:
    return f"source: {{{origin}, files: [{files}], remote_code: [{code}]}}\n{more}"


def parameters(workspace: Workspace, kind: str) -> list[dict[str, Any]]:
    manifests = (path / "manifest.json" for path in workspace.artifacts(kind))
    return [json.loads(path.read_text())["recipe"]["parameters"] for path in manifests]


def test_a_further_file_is_locked_fetched_and_kept_beside_the_weights_in_every_clone(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    extra = {"words.txt": b"a b c", "extra_vocab.bin.json": b"{}", "other.md": b"no"}
    never = {"run.py": b"!", "x.bin": b"!", "y.safetensors": b"!", ".gitattributes": b"!"}
    hub.commit(REPO, model | extra | never)
    text = recipe(files="'*.txt', extra_vocab.bin.json, 'run*', '*x*'")
    workspace.recipe("tiny", text)
    told = workspace.refused("build", "tiny")
    column = text.index("'run*'") + 1
    assert f"tiny.yaml:1:{column}: source.files[2] 'run*' takes no file of {REPO} at main" in told
    assert hub.downloads() == ["config.json"] and not lock_of(workspace).exists()

    workspace.recipe("tiny", recipe(files="'*.txt', extra_vocab.bin.json"))
    workspace.build("tiny")
    wanted = {"words.txt", "extra_vocab.bin.json"}
    assert set(hub.downloads()) == set(source_of(workspace).files) == set(model) | wanted
    made = bytes_of(workspace)
    assert made["words.txt"] == b"a b c" and made["extra_vocab.bin.json"] == b"{}"
    assert not {*never, "other.md"} & made.keys()
    assert '  further: {files: ["*.txt", "extra_vocab.bin.json"]}' in lock_of(workspace).read_text()

    empty_cache(monkeypatch, tmp_path / "another-cache")
    clone = Workspace(tmp_path / "clone")
    shutil.copytree(workspace.root / "recipes", clone.root / "recipes", dirs_exist_ok=True)
    clone.build("tiny")
    assert bytes_of(clone) == made


def test_a_recipe_that_wants_others_than_its_lock_has_is_told_and_an_upgrade_moves_it(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model | {"words.txt": b"a b c"})
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    (plain,) = parameters(workspace, "quantize")
    assert not {"files", "remote_code"} & plain.keys()
    before = lock_of(workspace).read_text()
    assert "further" not in before

    workspace.recipe("tiny", recipe(files="'*.txt'"))
    told = workspace.refused("build", "tiny")
    assert "tiny.lock is for no further files, the recipe wants files: *.txt" in told
    assert "`doit lock --upgrade tiny` moves the lock" in told
    moved = workspace.doit("lock", "--upgrade", "tiny").stdout
    assert "  source.further: (nothing) -> files: *.txt\n" in moved
    workspace.build("tiny")
    assert bytes_of(workspace)["words.txt"] == b"a b c"

    workspace.recipe("tiny", recipe())
    assert "tiny.lock is for files: *.txt" in workspace.refused("build", "tiny")
    lock_of(workspace).write_text(before)
    assert " done in " not in workspace.doit("build", "tiny").stderr  # the old model is there


def test_recipes_that_want_different_files_of_one_source_are_locked_to_one_commit(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model | {"words.txt": b"a b c"})
    workspace.recipe("tiny", recipe())
    workspace.recipe("wordy", recipe(files="words.txt"))
    workspace.build("tiny", "wordy")
    assert hub.requests.count(f"GET /api/models/{REPO}/revision/main") == 1
    assert "words.txt" not in bytes_of(workspace)
    assert bytes_of(workspace, "wordy")["words.txt"] == b"a b c"


def test_a_tokenizers_code_runs_where_the_recipe_names_it_and_nowhere_else(
    hub: Hub, workspace: Workspace, tokenizer: dict[str, bytes], marks: Callable[[], set[str]],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.commit(REPO, tokenizer)
    workspace.recipe("plain", recipe(more=EVALUATE))
    workspace.doit("build", "plain")
    assert marks() == set() and not [name for name in hub.downloads() if name.endswith(".py")]

    workspace.recipe("tiny", recipe(code=f"{TOKENIZER}, {SIBLING}", more=EVALUATE))
    done = workspace.doit("build", "tiny", HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert marks() == {TOKENIZER}
    assert "mlx_lm.generate --model cache/models/tiny --trust-remote-code" in done.stdout
    assert {TOKENIZER, SIBLING} <= source_of_named(workspace, "tiny").keys()
    made = bytes_of(workspace)
    assert {name: made[name] for name in (TOKENIZER, SIBLING)} == {
        name: CODE[name] for name in (TOKENIZER, SIBLING)
    }
    # what Python and transformers write beside code is neither here nor in the user's cache
    left = [path for path in tmp_path.rglob("*") if path.suffix == ".pyc" or path.name == "modules"]
    assert left == [] and list((workspace.cache / "staging").iterdir()) == []
    for kind in ("inspect", "quantize", "baseline", "evaluate"):
        named = [one.get("remote_code") for one in parameters(workspace, kind)]
        assert [TOKENIZER, SIBLING] in named, kind

    empty_cache(monkeypatch, tmp_path / "another-cache")
    clone = Workspace(tmp_path / "clone")
    for name in ("tiny.yaml", "tiny.lock"):
        shutil.copy(workspace.root / "recipes" / name, clone.root / "recipes")
    clone.build("tiny")
    assert bytes_of(clone) == made


def source_of_named(workspace: Workspace, name: str) -> dict[str, Any]:
    from mlxforge.lock import read_lock

    lock = read_lock(workspace.root / "recipes" / f"{name}.lock", workspace.root)
    assert lock is not None and lock.source is not None
    return dict(lock.source.files)


def test_code_with_other_bytes_than_the_lock_says_is_refused_before_it_runs(
    hub: Hub, workspace: Workspace, tokenizer: dict[str, bytes], marks: Callable[[], set[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    hub.commit(REPO, tokenizer)
    workspace.recipe("tiny", recipe(code=f"{TOKENIZER}, {SIBLING}", more=EVALUATE))
    hub.wrong = {SIBLING}
    told = workspace.refused("build", "tiny")
    assert f"{SIBLING} as downloaded has another git_sha1 than the lock says" in told
    hub.wrong.clear()
    assert workspace.doit("build", "tiny").returncode == 0
    assert marks() == {TOKENIZER}

    (tmp_path / "marks").unlink()
    (code,) = tmp_path.glob(f"hf-home/hub/*/snapshots/*/{TOKENIZER}")
    evil = code.read_bytes().replace(b"greeting", b"gruesome")
    code.resolve().write_bytes(evil)
    shutil.rmtree(workspace.cache / "artifacts" / "evaluate")
    shutil.rmtree(workspace.cache / "artifacts" / "baseline")
    assert f"{TOKENIZER} as downloaded has" in workspace.refused("build", "tiny")
    assert marks() == set()


def test_code_that_is_not_there_is_told_with_its_line(
    hub: Hub, workspace: Workspace, tokenizer: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(REPO, tokenizer)
    local = put(tmp_path / "source", tokenizer)
    for origin, said in ((f"repo: {REPO}", f"{REPO} at main"), (f"path: {local}", str(local))):
        text = recipe(origin, code="tokenization_tin.py")
        workspace.recipe("tiny", text)
        column = text.index("tokenization_tin.py") + 1
        told = workspace.refused("build", "tiny")
        where = f"recipes/tiny.yaml:1:{column}: source.remote_code[0] 'tokenization_tin.py'"
        assert f"{where} is not in {said}" in told
    assert hub.downloads() == ["config.json"]


@pytest.mark.parametrize(
    ("config", "classes", "lacking"),
    [
        (
            "tokenizer_config.json",
            {"AutoTokenizer": ["slow.Slow", "tokenization_tiny.TinyTokenizer"]},
            "slow.py",
        ),
        ("tokenizer_config.json", ["sub/deep.Slow", None], "sub/deep.py"),
        ("tokenizer_config.json", {"AutoTokenizer": "a/b--mine.Slow"}, "a/b--mine.py"),
        ("config.json", {"AutoConfig": "configuration_tiny.Config"}, "configuration_tiny.py"),
    ],
)  # fmt: skip
def test_code_that_would_run_with_the_named_is_refused_by_its_name(
    workspace: Workspace, tokenizer: dict[str, bytes], tmp_path: Path,
    marks: Callable[[], set[str]], config: str, classes: Any, lacking: str,
) -> None:  # fmt: skip
    mark = LEAVE_A_MARK.format(name="unnamed").encode()
    files = {"slow.py": mark, "mine.py": mark, "configuration_tiny.py": mark}
    files[config] = changed(tokenizer[config], auto_map=classes)
    local = put(tmp_path / "source", tokenizer | files)
    workspace.recipe("tiny", recipe(f"path: {local}", code=f"{TOKENIZER}, {SIBLING}"))
    told = workspace.refused("build", "tiny")
    assert f"the tokenizer in {local} runs {lacking!r}, which source.remote_code does not" in told
    assert marks() == set() and workspace.artifacts() == []


def test_a_module_that_the_named_code_imports_must_be_named_too(
    workspace: Workspace, tokenizer: dict[str, bytes], tmp_path: Path,
    marks: Callable[[], set[str]],
) -> None:  # fmt: skip
    files = tokenizer | {SIBLING: LEAVE_A_MARK.format(name="unnamed").encode()}
    local = put(tmp_path / "source", files)
    workspace.recipe("tiny", recipe(f"path: {local}", code=TOKENIZER, more=EVALUATE))
    told = workspace.refused("build", "tiny")
    assert f"the tokenizer in {local} runs {SIBLING!r}, which source.remote_code does not" in told
    assert marks() == set()


def test_bytecode_that_lies_beside_named_code_does_not_run_in_its_place(
    workspace: Workspace, architecture: dict[str, bytes], tmp_path: Path,
    marks: Callable[[], set[str]],
) -> None:  # fmt: skip
    from importlib.util import cache_from_source
    from py_compile import PycInvalidationMode, compile

    local = put(tmp_path / "source", architecture)
    other = tmp_path / "other.py"
    other.write_text(LEAVE_A_MARK.format(name="bytecode"))
    beside = cache_from_source(str(local / ARCHITECTURE))
    compile(str(other), beside, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    workspace.recipe("tiny", recipe(f"path: {local}", code=ARCHITECTURE))
    workspace.build("tiny")
    assert marks() == {ARCHITECTURE}


@pytest.mark.parametrize("where", ["hub", "folder"])
def test_an_architecture_of_its_own_gives_the_same_tensors_where_its_file_is_named(
    hub: Hub, workspace: Workspace, tiny: Callable[..., Path], architecture: dict[str, bytes],
    marks: Callable[[], set[str]], tmp_path: Path, where: str,
) -> None:  # fmt: skip
    hub.commit(REPO, architecture)
    local = put(tmp_path / "source", architecture)
    origin = f"repo: {REPO}" if where == "hub" else f"path: {local}"
    workspace.recipe("tiny", recipe(origin, more=EVALUATE))
    told = workspace.refused("build", "tiny")
    assert f"needs its own code ({ARCHITECTURE!r}), which is not run" in told
    assert "source: {remote_code: [NAME.py]}" in told
    assert marks() == set() and not lock_of(workspace).exists()

    before = sorted((path.name, path.stat().st_mtime_ns) for path in local.iterdir())
    workspace.recipe("tiny", recipe(origin, code=ARCHITECTURE, more=EVALUATE))
    workspace.recipe("llama", f"source: {{path: {tiny()}}}\n{EVALUATE}")
    workspace.build("tiny", "llama")
    assert marks() == {ARCHITECTURE}
    mine, plain = bytes_of(workspace), bytes_of(workspace, "llama")
    assert mine["model.safetensors"] == plain["model.safetensors"]
    assert mine[ARCHITECTURE] == CODE[ARCHITECTURE] and ARCHITECTURE not in plain
    assert json.loads(mine["config.json"])["model_file"] == ARCHITECTURE
    figures = [
        json.loads((path / "data" / "result.json").read_text())
        for path in workspace.artifacts("evaluate")
    ]
    assert len(figures) == 2 and figures[0] == figures[1]
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in local.iterdir())
    assert workspace.doit("verify", "tiny").returncode == 0


def test_a_local_folders_further_files_and_code_are_hashed(
    workspace: Workspace, architecture: dict[str, bytes], tmp_path: Path
) -> None:
    local = put(tmp_path / "source", architecture | {"words.txt": b"a b c", "notes.md": b"none"})
    workspace.recipe("tiny", recipe(f"path: {local}", "'*.txt'", ARCHITECTURE))
    workspace.build("tiny")
    assert bytes_of(workspace)["words.txt"] == b"a b c"
    assert parameters(workspace, "quantize")[0]["files"] == ["words.txt"]
    (local / "notes.md").write_text("of no interest")
    assert " done in " not in workspace.doit("build", "tiny").stderr
    (local / "words.txt").write_text("d e f")
    workspace.build("tiny")
    assert bytes_of(workspace)["words.txt"] == b"d e f"
    (local / ARCHITECTURE).write_bytes(CODE[ARCHITECTURE] + b"\n")
    assert "quantize tiny done in" in workspace.doit("build", "tiny").stderr
    (local / "words.txt").unlink()
    assert "source.files[0] '*.txt' takes no file of" in workspace.refused("build", "tiny")


def test_what_code_does_to_its_own_file_stays_in_the_step_that_ran_it(
    workspace: Workspace, architecture: dict[str, bytes], tmp_path: Path
) -> None:
    scribble = b"open(__file__, 'a').write('# changed')\n"
    local = put(tmp_path / "source", architecture | {ARCHITECTURE: CODE[ARCHITECTURE] + scribble})
    workspace.recipe("tiny", recipe(f"path: {local}", code=ARCHITECTURE))
    workspace.build("tiny")
    assert (local / ARCHITECTURE).read_bytes().endswith(scribble)
    assert bytes_of(workspace)[ARCHITECTURE].endswith(scribble)


def test_a_file_that_is_called_like_the_published_recipe_is_not_covered_by_it(
    workspace: Workspace, model: dict[str, bytes], tmp_path: Path
) -> None:
    local = put(tmp_path / "source", model | {"tiny.yaml": b"not a recipe"})
    workspace.recipe("tiny", recipe(f"path: {local}", "'*.yaml'", more="upload: {repo: a/b}\n"))
    workspace.build("tiny")
    told = workspace.refused("upload", "--dry-run", "tiny")
    assert "the model has a file tiny.yaml, as which tiny would be published" in told
