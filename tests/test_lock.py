"""Locks: what is written is read again, and whatever else stands in the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.hub.names import is_file_name, is_file_path
from mlxforge.lock import (
    Lock,
    LockedFile,
    LockedModel,
    LockedSource,
    LockedText,
    LockedWidths,
    lock_file,
    read_lock,
    texts_of,
    write_lock,
)
from mlxforge.lock.drift import drift
from mlxforge.recipe.further import Further
from mlxforge.recipe.load import load_book

COMMIT = "5d0c6a1e" * 5
FILES = {
    "model.safetensors": {"size": 4096, "sha256": "7e" * 32},
    "config.json": {"git_sha1": "03f2" * 10, "size": 912},
}
TENSORS = {"model.norm.weight": "0" * 16, "lm_head.weight": "4f9a31c2b7e80d15"}
ROWS = {"plain/test-00000-of-00001.parquet": {"size": 732610, "sha256": "5f1b" * 16}}
TEXTS = {
    "acme/lines plain test": LockedText("plain", "test", "main", "b086" * 10, ROWS),
    "./words.txt": LockedFile(100189, "5b1f" * 16),
}
LOCK = Lock(
    LockedSource("acme/demo", "main", COMMIT, FILES),
    "91ab" * 16,
    {"mlx-lm": "0.32.2", "mlx": "0.32.4"},
    {"cpu": LockedModel("c0de" * 16, TENSORS)},
    TEXTS,
    LockedWidths("77aa" * 16, 4.4987, {"model.layers.0.mlp.up_proj": 3, "lm_head": 6}),
)
TEXT = f"""\
# What demo stood for. Made by mlxforge; commit it with the recipe.
recipe: "{"91ab" * 16}"
tools:
  "mlx": "0.32.4"
  "mlx-lm": "0.32.2"
source:
  repo: "acme/demo"
  revision: "main"
  commit: "{COMMIT}"
  loader: "mlx_lm"
  files:
    "config.json": {{size: 912, git_sha1: "{"03f2" * 10}"}}
    "model.safetensors": {{size: 4096, sha256: "{"7e" * 32}"}}
texts:
  "./words.txt": {{size: 100189, sha256: "{"5b1f" * 16}"}}
  "acme/lines plain test":
    config: "plain"
    split: "test"
    revision: "main"
    commit: "{"b086" * 10}"
    files:
      "plain/test-00000-of-00001.parquet": {{size: 732610, sha256: "{"5f1b" * 16}"}}
widths:
  recipe: "{"77aa" * 16}"
  bits_per_weight: 4.4987
  layers: |
    6 lm_head
    3 model.layers.0.mlp.up_proj
models:
  "cpu":
    digest: "{"c0de" * 16}"
    tensors: |
      4f9a31c2b7e80d15 lm_head.weight
      0000000000000000 model.norm.weight
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "recipes").mkdir()
    return tmp_path / "recipes" / "demo.lock"


@pytest.fixture
def refusal(path: Path, tmp_path: Path) -> Callable[[str | bytes], str]:
    """What is said of a lock file with this content."""

    def read(content: str | bytes) -> str:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ForgeError) as caught:
            read_lock(path, tmp_path)
        told = str(caught.value)
        assert told.startswith("recipes/demo.lock:") and len(told.splitlines()) == 2
        return told

    return read


def test_a_lock_lies_beside_its_recipe() -> None:
    assert lock_file(Path("recipes/family.yaml"), "family-4bit") == Path("recipes/family-4bit.lock")


def test_no_file_is_no_lock(path: Path, tmp_path: Path) -> None:
    assert read_lock(path, tmp_path) is None


def test_a_lock_is_sorted_with_a_fact_a_line(path: Path, tmp_path: Path) -> None:
    write_lock(path, "demo", LOCK)
    assert path.read_text() == TEXT
    assert read_lock(path, tmp_path) == LOCK
    assert [file.name for file in path.parent.iterdir()] == ["demo.lock"]


def test_what_the_recipe_wanted_further_is_a_line_where_there_is_any(
    path: Path, tmp_path: Path, refusal: Callable[[str | bytes], str]
) -> None:
    files = FILES | {"x.py": FILES["config.json"]}
    further = Further(("*.txt", 'a "b"'), ("x.py",))
    lock = Lock(LockedSource("acme/demo", "main", COMMIT, files, further))
    write_lock(path, "demo", lock)
    text = path.read_text()
    line = r"""  further: {files: ["*.txt", "a \"b\""], remote_code: ["x.py"]}"""
    assert line in text.splitlines()
    assert read_lock(path, tmp_path) == lock
    plain = Lock(LockedSource("acme/demo", "main", COMMIT, files, Further(("*.txt",))))
    assert list(map(str, drift(lock, plain))) == [
        'source.further: files: *.txt, a "b"; remote_code: x.py -> files: *.txt'
    ]
    assert "'y.py' is not among the source's files" in refusal(text.replace('["x.py', '["y.py'))
    assert "remote_code is 'x.py', not a list" in refusal(text.replace('["x.py"]', '"x.py"'))
    assert "unknown key 'code'" in refusal(text.replace("remote_code", "code"))


def test_equal_locks_are_equal_bytes(path: Path) -> None:
    write_lock(path, "demo", LOCK)
    first = path.read_bytes()
    source = LockedSource("acme/demo", "main", COMMIT, dict(reversed(FILES.items())))
    tools = dict(reversed(LOCK.tools.items()))
    model = LockedModel("c0de" * 16, dict(reversed(TENSORS.items())))
    texts = dict(reversed(TEXTS.items()))
    assert LOCK.widths is not None
    layers = dict(reversed(LOCK.widths.layers.items()))
    widths = LockedWidths(LOCK.widths.recipe, LOCK.widths.bits_per_weight, layers)
    write_lock(path, "demo", Lock(source, LOCK.recipe, tools, {"cpu": model}, texts, widths))
    assert path.read_bytes() == first


names = st.text(min_size=1, max_size=20).filter(is_file_name)
digests = st.one_of(
    st.from_regex("[0-9a-f]{64}", fullmatch=True).map(lambda digest: {"sha256": digest}),
    st.from_regex("[0-9a-f]{40}", fullmatch=True).map(lambda digest: {"git_sha1": digest}),
)
facts = st.builds(lambda size, digest: {"size": size} | digest, st.integers(0, 1 << 50), digests)
commits = st.from_regex("[0-9a-f]{40}", fullmatch=True)
nested = st.lists(names, min_size=1, max_size=3).map("/".join)
texts = st.one_of(
    st.builds(LockedText, names, names, names, commits, st.dictionaries(nested, facts, max_size=3)),
    st.builds(LockedFile, st.integers(0, 1 << 50), st.from_regex("[0-9a-f]{64}", fullmatch=True)),
)

tensor_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,30}", fullmatch=True)
widths = st.builds(
    LockedWidths,
    st.from_regex("[0-9a-f]{64}", fullmatch=True),
    st.floats(2, 8).map(lambda bits: round(bits, 4)),
    st.dictionaries(tensor_names, st.sampled_from([2, 3, 4, 5, 6, 8]), min_size=1),
)
models = st.builds(
    LockedModel,
    st.from_regex("[0-9a-f]{64}", fullmatch=True),
    st.dictionaries(tensor_names, st.from_regex("[0-9a-f]{16}", fullmatch=True), min_size=1),
)


@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    revision=names,
    files=st.dictionaries(names, facts, max_size=5),
    tools=st.dictionaries(names, names, max_size=3),
    models=st.dictionaries(names, models, max_size=2),
    texts=st.dictionaries(names, texts, max_size=3),
    widths=st.none() | widths,
)
@example(
    revision="<<",
    files={"<<": {"size": 1, "sha256": "0" * 64}},
    tools={"<<": "="},
    models={},
    texts={},
    widths=None,
)
def test_whatever_is_written_is_read_again(
    path: Path,
    tmp_path: Path,
    revision: str,
    files: dict[str, dict[str, object]],
    tools: dict[str, str],
    models: dict[str, LockedModel],
    texts: dict[str, LockedText | LockedFile],
    widths: LockedWidths | None,
) -> None:
    source = LockedSource("acme/demo", revision, COMMIT, files)
    lock = Lock(source, None, tools, models, texts, widths)
    write_lock(path, "demo", lock)
    assert read_lock(path, tmp_path) == lock
    moved = drift(lock, Lock(lock.source, tools=tools))
    gone = {f"texts.{label}" for label in texts} | ({"widths"} if widths else set())
    assert {fact.fact for fact in moved} == gone


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("source:", "sources:", "the lock has the unknown key 'sources'"),
        ("source:", "text: 1\nsource:", "the lock has the unknown key 'text'"),
        ("texts:", "texts: []\ntools: #", "is written twice"),
        ('    config: "plain"\n', "", "'acme/lines plain test' has no config"),
        ('config: "plain"', "config: 7", "config is 7, not text"),
        ('split: "test"', 'split: ""', "split is '', not text"),
        ("b086b086b086", "main", "not 40 hexadecimal digits"),
        ("plain/test-", "../test-", "'../test-00000-of-00001.parquet' is not the name of a file"),
        ("plain/test-", "/test-", "'/test-00000-of-00001.parquet' is not the name of a file"),
        ("732610", '"732610"', "the size of 'plain/test-00000-of-00001.parquet' is '732610'"),
        ("{size: 100189, sha256", "{size: 100189, git_sha1", "'./words.txt' is a local file"),
        ("{size: 100189, ", "{", "'./words.txt' has no size"),
        ('"./words.txt": {', '"./words.txt": [{', "this is not YAML"),
        ("recipe: ", "recipe: 7 #", "recipe is 7, not a digest"),
        ('"0.32.4"', "0.32", "the version of 'mlx' is 0.32, not text"),
        ('  "mlx"', "  - mlx\nmore: #", "unknown key 'more'"),
        ("c0dec0de", "", "the digest of 'cpu' is"),
        ("    tensors: |", "    tensors: 7 #", "is not YAML"),
        (
            "bits_per_weight: 4.4987",
            "bits_per_weight: lots",
            "bits_per_weight is 'lots', not a number",
        ),
        ("6 lm_head", "7 lm_head", "'7 lm_head' is not a layer's bits and path"),
        ("77aa", "77ax", "the recipe of widths is"),
        ("4f9a31c2b7e80d15", "4f9a", "'4f9a lm_head.weight' is not a tensor's digest and name"),
        ("digest:", "digests:", "'cpu' has no digest"),
        ('"main"', "main\n  branch: x", "source has the unknown key 'branch'"),
        ('  repo: "acme/demo"\n', "", "source has no repo"),
        ('"acme/demo"', "7", "repo is 7, not text"),
        ('"main"', '""', "revision is '', not text"),
        (COMMIT, COMMIT[1:], "not 40 hexadecimal digits"),
        (COMMIT, COMMIT.upper(), "not 40 hexadecimal digits"),
        ("config.json", "../config.json", "'../config.json' is not the name of a file"),
        ("config.json", "a/config.json", "'a/config.json' is not the name of a file"),
        ("config.json", "..", "'..' is not the name of a file"),
        ("config.json", "model.safetensors", "is written twice"),
        ("commit:", "repo:", "the key 'repo' is written twice"),
        ("{size: 912, ", "{", "'config.json' has no size"),
        ("912", "-1", "the size of 'config.json' is -1"),
        ("912", "true", "the size of 'config.json' is true"),
        ("7e7e", "7g7e", "sha256 of 'model.safetensors'"),
        ("git_sha1", "md5", "'config.json' needs a size and one of sha256 and git_sha1"),
        ("{size: 4096, ", f"{{size: 4096, git_sha1: {COMMIT}, ", "needs a size and one of"),
        ("{size: 4096, ", "{size: 4096, mode: 7, ", "has the unknown key 'mode'"),
        ("  files:", "  files: []\nfiles:", "unknown key 'files'"),
        ("  revision:", "<<<<<<< HEAD\n  revision:", "this is not YAML"),
    ],
)
def test_a_damaged_lock_is_refused_with_the_reason(
    refusal: Callable[[str | bytes], str], before: str, after: str, why: str
) -> None:
    assert before in TEXT
    assert why in refusal(TEXT.replace(before, after, 1))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 5000, b"- 1", b"source:\n"])
def test_what_is_no_lock_at_all_is_refused(
    refusal: Callable[[str | bytes], str], content: bytes
) -> None:
    assert "this is not a lock" in refusal(content)


def test_a_lock_that_cannot_be_read_or_written_is_told(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    with pytest.raises(ForgeError, match=r"recipes/demo\.lock cannot be read: Is a directory"):
        read_lock(path, tmp_path)
    with pytest.raises(ForgeError, match="cannot be written: Is a directory"):
        write_lock(path, "demo", LOCK)
    with pytest.raises(ForgeError, match="cannot be written: No such file"):
        write_lock(tmp_path / "nowhere" / "demo.lock", "demo", LOCK)
    assert list(path.parent.iterdir()) == [path]


def test_what_could_not_be_read_again_is_not_written(path: Path) -> None:
    with pytest.raises(ForgeError, match="demo cannot be locked: commit is 'main'"):
        write_lock(path, "demo", Lock(LockedSource("acme/demo", "main", "main", FILES)))
    assert not path.exists()


pieces = st.one_of(
    st.sampled_from([*TEXT.splitlines(keepends=True), *TEXT.split(), "{", "]", "\n", "  ", "&a "]),
    st.text(max_size=8),
)
damaged = st.one_of(
    st.binary(max_size=200),
    st.lists(pieces, max_size=30).map(lambda words: "".join(words).encode(errors="replace")),
    st.builds(
        lambda at, length, new: (TEXT[:at] + new + TEXT[at + length :]).encode(errors="replace"),
        st.integers(0, len(TEXT)),
        st.integers(0, 30),
        st.text(max_size=8),
    ),
)


@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(content=damaged)
def test_whatever_stands_in_the_file_is_a_lock_or_refused(
    path: Path, tmp_path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    try:
        lock = read_lock(path, tmp_path)
    except ForgeError as error:
        assert len(str(error).splitlines()) <= 2
        return
    assert lock is not None
    write_lock(path, "demo", lock)
    assert read_lock(path, tmp_path) == lock


def test_an_older_lock_with_a_source_alone_is_still_a_lock(path: Path, tmp_path: Path) -> None:
    start, end = TEXT.index("source:"), TEXT.index("texts:")
    path.write_text(TEXT[start:end])
    assert read_lock(path, tmp_path) == Lock(LOCK.source)


def test_what_moved_is_told_fact_by_fact() -> None:
    assert LOCK.source is not None
    files = {
        "config.json": FILES["config.json"],
        "model.safetensors": {"size": 5, "sha256": "aa" * 32},
    }
    now = Lock(
        LockedSource("acme/demo", "main", "77e1" * 10, files | {"new.json": FILES["config.json"]}),
        LOCK.recipe,
        {"mlx": "0.33.0"},
        {"cpu": LockedModel("dead" * 16, {}), "metal": LockedModel("beef" * 16, {})},
        {
            "./words.txt": LockedFile(7, "aa" * 32),
            "acme/lines": LockedText("plain", "test", "main", "77e1" * 10, ROWS),
            "acme/lines plain test": LockedText("plain", "test", "main", "77e1" * 10, {}),
        },
        LockedWidths("77aa" * 16, 4.4, {"model.layers.0.mlp.up_proj": 2, "lm_head": 6}),
    )
    assert list(map(str, drift(LOCK, now))) == [
        "tools.mlx: 0.32.4 -> 0.33.0",
        "tools.mlx-lm: 0.32.2 -> (nothing)",
        "source.commit: 5d0c6a1e5d0c -> 77e177e177e1",
        "source.files.model.safetensors: 7e7e7e7e7e7e (4096 bytes) -> aaaaaaaaaaaa (5 bytes)",
        "source.files.new.json: (nothing) -> 03f203f203f2 (912 bytes)",
        "texts../words.txt: 5b1f5b1f5b1f (100189 bytes) -> aaaaaaaaaaaa (7 bytes)",
        "texts.acme/lines: (nothing) -> 77e177e177e1 (plain, test)",
        "texts.acme/lines plain test.commit: b086b086b086 -> 77e177e177e1",
        "texts.acme/lines plain test.files.plain/test-00000-of-00001.parquet: "
        "5f1b5f1b5f1b (732610 bytes) -> (nothing)",
        "widths.layers.model.layers.0.mlp.up_proj: 3 -> 2",
        "models.cpu.digest: c0dec0dec0de -> deaddeaddead",
    ]
    assert drift(LOCK, LOCK) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a.parquet", True), ("data/en/a b.parquet", True), ("", False), ("a//b", False),
        ("/a", False), ("a/", False), ("a/../b", False), ("./a", False), ("a\\b", False),
        ("a\nb", False),
    ],
)  # fmt: skip
def test_a_file_in_folders_stays_below_its_folder(name: str, fits: bool) -> None:
    assert is_file_path(name) is fits


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("dataset: acme/lines", "acme/lines"),
        ("dataset: acme/lines, column: title", "acme/lines"),
        ("dataset: acme/lines, config: plain", "acme/lines plain"),
        ("dataset: acme/lines, config: plain, split: test", "acme/lines plain test"),
        ("dataset: acme/lines, split: test", "acme/lines * test"),
        ("dataset: acme/lines, config: 'a b', split: '*'", 'acme/lines "a b" "*"'),
        ("path: words.txt", "./words.txt"),
        ("path: ../texts/words.txt", "../texts/words.txt"),
        ("path: /texts/../words.txt", "/words.txt"),
    ],
)
def test_a_text_is_called_what_the_recipe_says(tmp_path: Path, text: str, label: str) -> None:
    (tmp_path / "recipes").mkdir()
    recipe = f"source: {{repo: acme/demo}}\nevaluate: {{text: {{{text}}}}}\n"
    (tmp_path / "recipes" / "demo.yaml").write_text(recipe)
    book = load_book(tmp_path / "recipes", tmp_path)
    assert list(texts_of(book.get("demo"))) == [label]
