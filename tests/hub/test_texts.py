"""Texts from data sets on the Hub: locked, downloaded, compared; the real client and server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlxforge.lock import Lock, LockedFile, LockedText, read_lock
from tests.conftest import DEMO, Workspace
from tests.hub.server import TOKEN, Hub
from tests.hub.test_hub_source import empty_cache
from tests.hub.test_lock_command import said

LINES = "datasets/acme/lines"
CARD = b"""---
license: mit
configs:
- config_name: plain
  data_files:
  - {split: test, path: plain/test-*}
  - {split: train, path: plain/train-*}
- config_name: table
  data_files: table.csv
---
# Lines
"""
TEST = "plain/test-00000-of-00001.parquet"
TRAIN = ["plain/train-00000-of-00002.parquet", "plain/train-00001-of-00002.parquet"]
ROWS = (DEMO / "heldout.txt").read_text(encoding="utf-8").splitlines()


def parquet(rows: Sequence[str | None]) -> bytes:
    sink = io.BytesIO()
    columns = {"n": range(len(rows)), "text": rows, "title": ["a title"] * len(rows)}
    pq.write_table(pa.table(columns), sink, row_group_size=50)
    return sink.getvalue()


def lines(test: Sequence[str] = ROWS[:200], train: Sequence[str] = ROWS[200:]) -> dict[str, bytes]:
    """A data set with two splits, and what must not be fetched."""
    half = len(train) // 2
    return {
        "README.md": CARD,
        "lines.py": b"raise SystemExit",
        "table.csv": b"a,b\n",
        TEST: parquet(test),
        TRAIN[0]: parquet(train[:half]),
        TRAIN[1]: parquet(train[half:]),
    }


def recipe(
    source: Path | str, text: str = "config: plain, split: test", calibrate: str = ""
) -> str:
    start = f"source: {{path: {source}}}\n" if isinstance(source, Path) else source
    return (
        f"{start}evaluate:\n  text: {{dataset: acme/lines, {text}}}\n  samples: 2\n"
        f"  sequence_length: 32\n  metrics: [perplexity]\n{calibrate}"
    )


def calibrate(text: str, overlap: str = "") -> str:
    return (
        f"calibrate:\n  text: {{{text}}}\n  {overlap}\n  samples: 2\n  sequence_length: 32\n"
        "quantize: {scales: search}\n"
    )


def lock_of(workspace: Workspace, name: str = "tiny") -> Lock:
    lock = read_lock(workspace.root / "recipes" / f"{name}.lock", workspace.root)
    assert lock is not None
    return lock


def text_of(workspace: Workspace, label: str = "acme/lines plain test") -> LockedText:
    text = lock_of(workspace).texts[label]
    assert isinstance(text, LockedText)
    return text


def baseline_of(workspace: Workspace) -> Mapping[str, object]:
    (found,) = workspace.artifacts("baseline")
    document: Mapping[str, object] = json.loads((found / "data" / "baseline.json").read_text())
    return document


@pytest.fixture
def source(tiny: Callable[..., Path]) -> Path:
    return tiny()


def test_the_first_build_locks_a_split_and_scores_its_rows_joined(
    hub: Hub, workspace: Workspace, source: Path, tmp_path: Path
) -> None:
    commit = hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    done = workspace.doit("build", "tiny")
    assert done.returncode == 0, done.stderr
    assert "locked tiny: wrote tiny.lock" in done.stderr
    assert "  text        acme/lines (plain, test), 2 windows of 32 tokens" in done.stdout
    ended = [line.split(" done in ")[0] for line in done.stderr.splitlines() if " done " in line]
    assert ended == [
        *("download tiny evaluate.text", "text tiny evaluate.text", "quantize tiny"),
        *("baseline tiny", "evaluate tiny"),
    ]
    assert set(hub.downloads()) == {"README.md", TEST}
    text = text_of(workspace)
    assert (text.config, text.split, text.revision, text.commit) == (
        *("plain", "test", "main"),
        commit,
    )
    assert text.files.keys() == {TEST} and text.files[TEST]["size"] == len(lines()[TEST])
    assert "pyarrow" in lock_of(workspace).tools

    (made,) = workspace.artifacts("text")
    joined = (made / "data" / "text.txt").read_text(encoding="utf-8")
    assert joined == "\n\n".join(ROWS[:200])
    (tmp_path / "joined.txt").write_text(joined, encoding="utf-8")
    local = Workspace(tmp_path / "local")
    text_line = f"{{path: {tmp_path / 'joined.txt'}}}"
    local.recipe("tiny", recipe(source).replace(recipe(source).split("text: ")[1].split("\n")[0],
                                                text_line))  # fmt: skip
    local.build("tiny")
    assert baseline_of(local) == baseline_of(workspace)
    assert not (local.root / "recipes" / "tiny.lock").exists()


def test_a_second_build_asks_nothing_online_or_offline(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    workspace.build("tiny")
    hub.requests.clear()
    for offline in ("0", "1"):
        done = workspace.doit("build", "tiny", HF_HUB_OFFLINE=offline)
        assert done.returncode == 0 and " done in " not in done.stderr
    workspace.recipe("tiny", recipe(source).replace("samples: 2", "samples: 3"))
    assert workspace.doit("build", "tiny", HF_HUB_OFFLINE="1").returncode == 0
    assert hub.requests == []
    assert workspace.doit("list").stdout.splitlines()[1].split()[:2] == ["tiny", "built"]


def test_a_clone_scores_on_the_locked_rows_after_the_data_set_has_moved_on(
    hub: Hub, workspace: Workspace, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    workspace.build("tiny")
    locked = (workspace.root / "recipes" / "tiny.lock").read_bytes()
    hub.commit(LINES, lines(test=ROWS[5:205]))
    empty_cache(monkeypatch, tmp_path / "another-cache")
    clone = Workspace(tmp_path / "clone")
    clone.recipe("tiny", recipe(source))
    (clone.root / "recipes" / "tiny.lock").write_bytes(locked)
    clone.build("tiny")
    assert baseline_of(clone) == baseline_of(workspace)
    assert (clone.root / "recipes" / "tiny.lock").read_bytes() == locked
    assert hub.downloads().count(TEST) == 2


def test_recipes_of_one_data_set_are_locked_to_one_commit_by_one_question(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    commit = hub.commit(LINES, lines())
    workspace.recipe("one", recipe(source))
    workspace.recipe("two", recipe(source, "config: plain, split: train"))
    assert said(workspace, "one", "two") == "one: wrote one.lock\ntwo: wrote two.lock\n"
    assert hub.requests.count("GET /api/datasets/acme/lines/revision/main") == 1
    assert hub.downloads() == ["README.md"]
    texts = [*lock_of(workspace, "one").texts.items(), *lock_of(workspace, "two").texts.items()]
    assert [label for label, _ in texts] == ["acme/lines plain test", "acme/lines plain train"]
    assert {text.commit for _, text in texts if isinstance(text, LockedText)} == {commit}


def test_what_is_not_parquet_is_read_from_the_hubs_conversion(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, {"lines.py": b"raise SystemExit", "data/test.jsonl": b"{}", "x.pkl": b"."})
    name = "default/test/0000.parquet"
    commit = hub.commit(LINES, {name: parquet(ROWS[:100])}, branch="refs/convert/parquet")
    workspace.recipe("tiny", recipe(source, "column: text"))
    workspace.build("tiny")
    text = text_of(workspace, "acme/lines")
    assert (text.config, text.split, text.revision) == ("default", "test", "refs/convert/parquet")
    assert (text.commit, set(text.files)) == (commit, {name})
    assert hub.downloads() == [name]


def test_a_split_of_the_card_that_is_not_parquet_is_read_from_the_conversion(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, lines())
    hub.commit(LINES, {"table/train/0.parquet": b"x" * 20}, branch="refs/convert/parquet")
    workspace.recipe("tiny", recipe(source, "config: table"))
    said(workspace, "tiny")
    assert set(text_of(workspace, "acme/lines table").files) == {"table/train/0.parquet"}


def test_names_that_leave_the_folder_are_not_taken(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, {"train.parquet": parquet(ROWS)})
    hub.repositories[LINES].listed = ["../train.parquet", "/tmp/train.parquet", "a/../b.parquet"]
    workspace.recipe("tiny", recipe(source, "split: train"))
    said(workspace, "tiny")
    assert set(text_of(workspace, "acme/lines * train").files) == {"train.parquet"}


def refused(workspace: Workspace, text: str, **environment: str) -> str:
    """What `doit lock` says of a recipe that wants ``text``; nothing is written."""
    workspace.recipe("tiny", recipe(Path("/nowhere"), text))
    told = workspace.refused("lock", "tiny", **environment).strip()
    assert len(told.splitlines()) <= 2 and not list(workspace.root.glob("recipes/*.lock"))
    return told


def test_what_a_data_set_lacks_is_told_at_the_recipes_line(hub: Hub, workspace: Workspace) -> None:
    at = "error: recipes/tiny.yaml:3:9: "
    missing = f"{at}the Hub has no data set acme/lines, or it is private"
    assert refused(workspace, "split: test").startswith(missing)
    hub.commit(LINES, lines())
    assert refused(workspace, "config: plan, split: test") == (
        f"{at}the data set acme/lines has no config 'plan'\n  did you mean 'plain'?"
    )
    assert refused(workspace, "config: plain, split: dev") == (
        f"{at}acme/lines (plain) has no split 'dev'\n  one of test, train"
    )
    assert refused(workspace, "split: test") == (
        f"{at}which config of the data set acme/lines? it has 2\n  config: one of plain, table"
    )
    told = refused(workspace, "config: table")
    assert told.startswith(f"{at}the data set acme/lines has no parquet files for table, train, ")
    hub.commit(LINES, {"README.md": b"---\na: &x 1\nb: *x\n---\n", "train.parquet": b"x"})
    told = refused(workspace, "split: train")
    assert told == (
        f"{at}the card of the data set acme/lines cannot be used: "
        "its front matter is not plain YAML: it holds an alias"
    )
    long = f"---\nconfigs: [{{data_files: [{'x, ' * 10_001}]}}]\n---\n".encode()
    hub.commit(LINES, {"README.md": long, "train.parquet": b"x"})
    assert refused(workspace, "split: train") == (
        f"{at}the card of the data set acme/lines cannot be used: "
        "it holds more than 10,000 patterns"
    )


def test_a_gated_or_private_data_set_and_a_hub_that_is_not_asked_are_told(
    hub: Hub, workspace: Workspace
) -> None:
    hub.commit(LINES, {"train.parquet": parquet(ROWS)})
    hub.repositories[LINES].gated = True
    told = refused(workspace, "split: train")
    assert told.startswith("error: recipes/tiny.yaml:3:9: acme/lines is gated, and you have no")
    assert f"accept its terms at {hub.endpoint}/datasets/acme/lines" in told
    hub.repositories[LINES].gated = False
    assert "offline mode is on" in refused(workspace, "split: train", HF_HUB_OFFLINE="1")
    hub.repositories[LINES].private = True
    assert "no data set acme/lines, or it is private" in refused(workspace, "split: train")
    locked = workspace.doit("lock", "tiny", HF_TOKEN=TOKEN)
    assert locked.returncode == 0, locked.stderr


def test_a_column_that_is_not_there_is_told_at_the_recipes_line_with_those_that_are(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, lines())
    for column, what in (("words", "does not exist"), ("n", "is not text")):
        workspace.recipe("tiny", recipe(source, f"config: plain, split: test, column: {column}"))
        told = workspace.refused("build", "tiny")
        assert f"recipes/tiny.yaml:3:9: the column '{column}' {what} in {Path(TEST).name}" in told
        assert "  columns with text: text, title\n" in told
    workspace.recipe("tiny", recipe(source, "config: plain, split: test, column: title"))
    workspace.build("tiny")
    assert hub.downloads().count(TEST) == 1


def test_other_bytes_than_the_locked_ones_are_refused(
    hub: Hub, workspace: Workspace, source: Path, tmp_path: Path
) -> None:
    hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    hub.wrong = {Path(TEST).name}
    told = workspace.refused("build", "tiny")
    assert f"{TEST} as downloaded has another" in told
    assert workspace.artifacts("text") == []
    hub.wrong.clear()
    workspace.build("tiny")
    (file,) = tmp_path.glob(f"hf-home/hub/datasets--acme--lines/snapshots/*/{TEST}")
    file.resolve().write_bytes(bytes(len(lines()[TEST])))
    changed = recipe(source, "config: plain, split: test, column: title")
    workspace.recipe("tiny", changed)
    assert f"{TEST} as downloaded has another" in workspace.refused("build", "tiny")


def test_check_tells_what_moved_in_a_data_set_and_upgrade_moves_it(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    first = hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    said(workspace, "tiny")
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"
    second = hub.commit(LINES, lines(test=ROWS[:150]))
    label = "texts.acme/lines plain test"
    told = said(workspace, "tiny", "--check", status=1)
    assert f"  {label}.commit: {first[:12]} -> {second[:12]}\n" in told
    assert f"  {label}.files.{TEST}: " in told and len(told.splitlines()) == 3
    assert text_of(workspace).commit == first
    assert f"{label}.commit" in said(workspace, "tiny", "--upgrade")
    assert text_of(workspace).commit == second
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"


def test_a_text_that_the_recipe_names_later_is_added_and_nothing_else_moves(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    first = hub.commit(LINES, lines())
    workspace.recipe("tiny", recipe(source))
    said(workspace, "tiny")
    assert "not locked" not in workspace.doit("list").stdout
    second = hub.commit(LINES, lines(train=ROWS[300:]))
    train = calibrate("dataset: acme/lines, config: plain, split: train", "overlap: flag")
    workspace.recipe("tiny", recipe(source, calibrate=train))
    assert "not locked" in workspace.doit("list").stdout
    done = workspace.doit("build", "tiny")
    assert done.returncode == 0, done.stderr
    assert "locked tiny: added acme/lines plain train to tiny.lock" in done.stderr
    assert text_of(workspace).commit == first
    assert text_of(workspace, "acme/lines plain train").commit == second
    workspace.recipe("tiny", recipe(source, "config: plain, split: train"))
    said(workspace, "tiny", "--upgrade")
    assert set(lock_of(workspace).texts) == {"acme/lines plain train"}


def test_a_local_text_is_a_fact_of_the_lock_and_no_build_fails_by_it(
    workspace: Workspace, source: Path
) -> None:
    text = workspace.root / "recipes" / "words.txt"
    text.write_text("\n".join(ROWS[:100]))
    workspace.recipe("tiny", recipe(source).replace(
        "{dataset: acme/lines, config: plain, split: test}", "{path: words.txt}"))  # fmt: skip
    said(workspace, "tiny")
    fact = lock_of(workspace).texts["./words.txt"]
    assert isinstance(fact, LockedFile) and fact.size == text.stat().st_size
    workspace.build("tiny")
    text.write_text("\n".join(ROWS[:101]))
    told = said(workspace, "tiny", "--check", status=1)
    assert f"  texts../words.txt: {fact.sha256[:12]} ({fact.size} bytes) -> " in told
    workspace.build("tiny")
    assert lock_of(workspace).texts["./words.txt"] == fact
    said(workspace, "tiny", "--upgrade")
    assert said(workspace, "tiny", "--check") == "tiny: tiny.lock holds\n"


def test_splits_that_overlap_are_refused_before_the_model_is_made(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, lines(train=[*ROWS[200:], *ROWS[3:100]]))
    train = "dataset: acme/lines, config: plain, split: train"
    workspace.recipe("tiny", recipe(source, calibrate=calibrate(train)))
    for _ in range(2):  # the second build has measured them already
        told = workspace.refused("build", "tiny", "-n", "2")
        assert "recipes/tiny.yaml:8:9: calibrate.text and evaluate.text overlap: " in told
        assert "% of the evaluation text stands in the calibration text, such as '" in told
        assert "`calibrate: {overlap: flag}`" in told
        assert workspace.artifacts("quantize") == [] == workspace.artifacts("baseline")
    (measured,) = workspace.artifacts("overlap")
    share = json.loads((measured / "data" / "overlap.json").read_text())["share"]
    assert 0.01 < share < 1

    workspace.recipe("tiny", recipe(source, calibrate=calibrate(train, "overlap: flag")))
    hub.requests.clear()
    told = workspace.build("tiny")
    assert f"  overlap     {100 * share:.3g}% of the evaluation text stands in the calib" in told
    assert hub.requests == []
    assert workspace.artifacts("overlap") == [measured]
    record = json.loads((workspace.cache / "built" / "tiny.json").read_text())
    assert record["figures"]["overlap"]["share"] == share
    assert {"download calibrate.text", "text evaluate.text", "overlap"} <= record["keys"].keys()
    workspace.recipe("tiny", recipe(source, calibrate=calibrate(train)))
    assert "gate missed" in workspace.doit("list").stdout


def test_splits_that_do_not_overlap_are_built_and_the_plan_and_gc_know_them(
    hub: Hub, workspace: Workspace, source: Path
) -> None:
    hub.commit(LINES, lines(test=ROWS[:100], train=[row[::-1] for row in ROWS[300:]]))
    train = "dataset: acme/lines, config: plain, split: train"
    workspace.recipe("tiny", recipe(source, calibrate=calibrate(train)))
    told = workspace.doit("plan", "tiny").stdout
    steps = "inspect, download, text, overlap, calibrate, heads, quantize, baseline, evaluate"
    assert f"would run {steps}" in told
    assert "  overlap  " not in workspace.build("tiny", "-n", "2")
    rows = workspace.doit("plan", "tiny").stdout.splitlines()[2:13]
    assert [row.split("  ")[1] for row in rows] == [
        *("inspect", "download calibrate.text", "text calibrate.text"),
        *("download evaluate.text", "text evaluate.text", "overlap"),
        *("calibrate", "heads", "quantize", "baseline", "evaluate"),
    ]
    assert "nothing to remove" in workspace.doit("gc").stdout
    workspace.recipe("tiny", recipe(source))
    workspace.build("tiny")
    told = workspace.doit("gc").stdout
    unused = {line.split()[0] for line in told.splitlines()[1:-1]}
    assert unused == {"calibrate", "download", "evaluate", "heads", "overlap", "quantize", "text"}


@pytest.mark.parametrize(
    "text",
    ["dataset: acme/lines, config: plain, split: test", "path: words.txt", "path: copy.txt"],
)
def test_a_text_that_is_calibrated_and_scored_on_is_refused_before_anything_is_read(
    workspace: Workspace, source: Path, text: str
) -> None:
    for name in ("words.txt", "copy.txt"):
        (workspace.root / "recipes" / name).write_text("\n".join(ROWS))
    scored = text.replace("copy", "words")
    path = workspace.recipe("tiny", recipe(source, calibrate=calibrate(text)).replace(
        "dataset: acme/lines, config: plain, split: test}\n  samples",
        f"{scored}}}\n  samples"))  # fmt: skip
    told = workspace.refused("build", "tiny", HF_HUB_OFFLINE="1")
    assert "recipes/tiny.yaml:8:9: calibrate.text and evaluate.text are the same" in told
    assert workspace.artifacts("quantize") == []
    flagged = path.read_text().replace("calibrate:", "calibrate:\n  overlap: flag")
    path.write_text(flagged)
    assert "overlap" in workspace.doit("plan", "tiny").stdout
