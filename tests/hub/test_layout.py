"""Which files of a data set are which split, by its card and by names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.hub.datasets import patterns as patterns_module
from mlxforge.hub.datasets.front_matter import MOST_BLOCK, front_matter
from mlxforge.hub.datasets.layout import (
    Layout,
    card_layout,
    choose,
    converted_layout,
    name_layout,
)

WIKITEXT = [
    f"wikitext-{size}-raw-v1/{split}-0000{shard}-of-0000{shards}.parquet"
    for size, shards in (("2", 1), ("103", 2))
    for split in ("test", "train")
    for shard in range(shards if split == "train" else 1)
]


def card(text: str) -> dict[str, object]:
    return front_matter(f"---\n{text}\n---\n# A data set\n".encode())


def layout(text: str, *paths: str) -> dict[str, dict[str, list[str]]]:
    found = card_layout(card(text), paths)
    return {
        config: {split: list(files) for split, files in splits.items()}
        for config, splits in found.configs.items()
    }


@pytest.mark.parametrize(
    ("path", "config", "split"),
    [
        ("data/train-00000-of-00002.parquet", "default", "train"),
        ("data/train-00000-of-00002-5d0c6a1e.parquet", "default", "train"),
        ("test-00000-of-00001.parquet", "default", "test"),
        ("data/train_sft-00000-of-00001.parquet", "default", "train_sft"),
        ("wikitext-2-raw-v1/test-00000-of-00001.parquet", "wikitext-2-raw-v1", "test"),
        ("data/en/val-00000-of-00001.parquet", "en", "val"),
        ("en/validation/0000.parquet", "en", "validation"),
        ("en/first_part/0000.parquet", "en", "first_part"),
        ("data/train/part-00000-of-00010.parquet", "default", "train"),
        ("en/dev/anything.parquet", "en", "validation"),
        ("train.parquet", "default", "train"),
        ("data/my_eval_file_01.parquet", "default", "test"),
        ("en/training.parquet", "en", "train"),
        ("lines.parquet", "default", "train"),
        ("contest.parquet", "default", "train"),
    ],
)
def test_a_name_tells_configuration_and_split(path: str, config: str, split: str) -> None:
    assert name_layout([path, "README.md", "lines.csv"]).configs == {config: {split: [path]}}


def test_the_card_tells_it_by_patterns() -> None:
    found = layout(
        """
configs:
- config_name: wikitext-103-raw-v1
  data_files:
  - split: test
    path: wikitext-103-raw-v1/test-*
  - split: train
    path: wikitext-103-raw-v1/train-*
- config_name: wikitext-2-raw-v1
  data_files:
  - {split: test, path: wikitext-2-raw-v1/test-*}
  - {split: all, path: ["wikitext-2-raw-v1/*.parquet"]}
""",
        *WIKITEXT,
        "wikitext-103-raw-v1/train-notes.csv",
    )
    assert found == {
        "wikitext-103-raw-v1": {
            "test": ["wikitext-103-raw-v1/test-00000-of-00002.parquet"],
            "train": [f"wikitext-103-raw-v1/train-0000{i}-of-00002.parquet" for i in (0, 1)],
        },
        "wikitext-2-raw-v1": {
            "test": ["wikitext-2-raw-v1/test-00000-of-00001.parquet"],
            "all": [f"wikitext-2-raw-v1/{s}-00000-of-00001.parquet" for s in ("test", "train")],
        },
    }


@pytest.mark.parametrize(
    ("files", "split"),
    [
        ("lines.parquet", "train"),
        ("[lines.parquet]", "train"),
        ("{test: lines.parquet}", "test"),
        ("{test: [lines.parquet, other.csv]}", "test"),
        ("{test: ./lines.parquet}", "test"),
        ("'*.parquet'", "train"),
        ("'**/*.parquet'", "train"),
        ("'lines.p?rquet'", "train"),
    ],
)
def test_the_card_has_many_forms(files: str, split: str) -> None:
    text = f"configs:\n- config_name: default\n  data_files: {files}"
    assert layout(text, "lines.parquet") == {"default": {split: ["lines.parquet"]}}


def test_a_star_stays_in_its_folder_and_two_do_not() -> None:
    paths = ("a/1.parquet", "a/b/2.parquet", "a/b/c/3.parquet")

    def found(pattern: str) -> list[str]:
        text = f"configs: [{{config_name: x, data_files: '{pattern}'}}]"
        return layout(text, *paths)["x"]["train"]

    assert found("a/*") == ["a/1.parquet"]
    assert found("a/*/*.parquet") == ["a/b/2.parquet"]
    assert found("a/**") == found("**") == found("a/**/*.parquet") == list(paths)
    assert found("**/c/*") == ["a/b/c/3.parquet"]
    assert found("a/**/b/**/**/2*") == ["a/b/2.parquet"]


def test_a_folder_of_the_card_is_read_by_names() -> None:
    text = "configs: [{config_name: x, data_dir: en}, {config_name: 7, data_dir: de/}]"
    assert layout(text, "en/train.parquet", "en/test/1.parquet", "de/lines.parquet") == {
        "x": {"train": ["en/train.parquet"], "test": ["en/test/1.parquet"]},
        "7": {"train": ["de/lines.parquet"]},
    }


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("{config_name: null, data_files: a.parquet}", {"default": {"train": ["a.parquet"]}}),
        ("{config_name: , data_files: a.parquet}", {"default": {"train": ["a.parquet"]}}),
        (
            "{config_name: x, data_files: [{split: null, path: a.parquet}]}",
            {"x": {"train": ["a.parquet"]}},
        ),
        ("{config_name: x, data_files: {null: a.parquet}}", {"x": {"train": ["a.parquet"]}}),
        ("{config_name: x, data_files: [{split: [y], path: a.parquet}]}", {"x": {}}),
        ("{config_name: x, data_files: null}", {"x": {"train": ["a.parquet"]}}),
    ],
)
def test_what_is_null_is_left_out(entry: str, found: dict[str, dict[str, list[str]]]) -> None:
    assert layout(f"configs: [{entry}]", "a.parquet") == found


def test_two_thousand_configurations_find_their_files_among_many() -> None:
    paths = [f"data/{i:04}/{s}/{j}.parquet" for i in range(2000) for s in "ab" for j in range(5)]
    entries = [
        {"config_name": f"{i:04}", "data_files": {s: f"data/{i:04}/{s}/*" for s in "ab"}}
        for i in range(2000)
    ]
    found = card_layout({"configs": entries}, paths)
    assert [found.configs[f"{i:04}"]["b"][4] for i in range(2000)] == paths[9::10]


def test_the_same_pattern_ten_thousand_times_is_one() -> None:
    files = [f"{i}.parquet" for i in range(1000)]
    once = card_layout({"configs": [{"data_files": ["*"] * 999}]}, files)
    assert once.configs == {"default": {"train": sorted(files)}}


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([{"data_files": [f"{i}.parquet" for i in range(10_001)]}], "more than 10,000 patterns"),
        ([{"config_name": i} for i in range(10_001)], "more than 10,000 configurations"),
        ([{"data_files": "a" * 2000}], "a pattern of 2,000 characters"),
        (
            [{"data_files": {f"s{i}": f"*{i}*" for i in range(100)}}],
            "too many patterns for its",
        ),
        ([{"data_files": {f"s{i}": "**" for i in range(100)}}], "too many patterns for its"),
        ([{"config_name": i} for i in range(100)], "too many patterns for its 3,000"),
    ],
)
def test_a_card_of_too_many_patterns_is_refused(
    entries: list[object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns_module, "MOST_COMPARED", 100_000)
    with pytest.raises(ValueError, match=why):
        card_layout({"configs": entries}, [f"{i}.parquet" for i in range(3000)])


@pytest.mark.parametrize("pattern", ["**/" * 300 + "x", "*a" * 300, "**/a*/" * 100, "[" * 900])
def test_no_pattern_takes_long(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns_module, "MOST_COMPARED", 100)
    deep = [f"{'a/' * 40}{'a' * 200}{i}.parquet" for i in range(90)]
    assert card_layout({"configs": [{"data_files": pattern}]}, deep).configs["default"] == {
        "train": []
    }


def test_files_of_other_kinds_and_outside_the_data_set_do_not_count() -> None:
    text = "configs: [{config_name: x, data_files: {test: t.csv, train: ['**', ../up.parquet]}}]"
    paths = ("t.csv", "../up.parquet", "/root.parquet", "a//b.parquet", "ok.parquet")
    assert layout(text, *paths) == {"x": {"test": [], "train": ["ok.parquet"]}}


def test_the_hubs_conversion_has_one_form() -> None:
    paths = ("en/train/0000.parquet", "en/partial-test/0000.parquet", "README.md", "x.parquet")
    assert converted_layout(paths).configs == {
        "en": {"train": ["en/train/0000.parquet"], "partial-test": [paths[1]]}
    }


TWO = Layout({"de": {"train": ["1"]}, "en": {"train": ["2"], "test": ["3"]}})


def test_what_is_left_out_is_the_only_one_there_is() -> None:
    assert choose("acme/lines", TWO, "de", None) == ("de", "train")
    assert choose("acme/lines", Layout({"x": {"y": []}}), None, None) == ("x", "y")
    default = Layout(TWO.configs, "en")
    assert choose("acme/lines", default, None, "test") == ("en", "test")
    named = Layout({"default": {"train": []}, "x": {}})
    assert choose("acme/lines", named, None, None) == ("default", "train")


@pytest.mark.parametrize(
    ("config", "split", "told"),
    [
        (
            None,
            "test",
            "which config of the data set acme/lines? it has 2\n  config: one of de, en",
        ),
        ("en", None, "which split of acme/lines (en)? it has 2\n  split: one of train, test"),
        ("fr", None, "the data set acme/lines has no config 'fr'\n  one of de, en"),
        ("en", "tests", "acme/lines (en) has no split 'tests'\n  did you mean 'test'?"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    config: str | None, split: str | None, told: str
) -> None:
    with pytest.raises(ForgeError) as caught:
        choose("acme/lines", TWO, config, split)
    assert str(caught.value) == told


def test_a_long_list_is_cut() -> None:
    many = Layout({f"language-{i:03}": {"train": []} for i in range(100)})
    with pytest.raises(ForgeError, match=r"language-019 and 80 more$"):
        choose("acme/lines", many, None, None)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"# no front matter", {}),
        (b"---\nlicense: mit\n---\n", {"license": "mit"}),
        (b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\ntext", {"license": "mit"}),
        (b"---\n- a list\n---\n", {}),
        (b"---\nnever: ends\n", {}),
        (b"", {}),
    ],
)
def test_front_matter_stands_between_dashes(content: bytes, found: dict[str, object]) -> None:
    assert front_matter(content) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1]\nb: *x", "it holds an alias"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("[" * 5000, "nested more than 32 levels deep"),
        ("a: [1", "not plain YAML"),
        ("a: 2026-99-99", "month must be in 1..12"),
    ],
)
def test_what_is_not_plain_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="its front matter is not plain YAML: ") as caught:
        card(text)
    assert why in str(caught.value)


def test_only_the_front_matter_may_not_be_long() -> None:
    text = "a: 1\nb: " + "x" * (MOST_BLOCK - 9)
    assert front_matter(f"---\n{text}\n---\n{'y' * 3_000_000}".encode())["a"] == 1
    with pytest.raises(ValueError, match=r"^its front matter has [0-9,]+ bytes, more than "):
        card(f"{text}é")


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="a number of 200,001 characters"):
        card("a: 1" + ":1" * 100_000)


words = st.sampled_from(["train", "test", "data", "en", "**", "*", "..", "", "a-00000-of-00001"])
paths = st.lists(words, min_size=1, max_size=5).map("/".join)
anything = st.recursive(
    st.one_of(st.none(), st.integers(), st.booleans(), paths),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["configs", "config_name", "data_files", "split", "path", "data_dir"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, database=None)
@given(document=anything, files=st.lists(paths.map(lambda path: f"{path}.parquet"), max_size=5))
def test_whatever_a_card_says_only_files_of_the_data_set_are_named(
    document: object, files: list[str]
) -> None:
    entries = document if isinstance(document, list) else [document]
    for found in (card_layout({"configs": entries}, files), name_layout(files)):
        named = {name for splits in found.configs.values() for s in splits.values() for name in s}
        assert named <= set(files)
        assert not any(part in ("", "..") for name in named for part in name.split("/"))
