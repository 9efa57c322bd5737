"""The text step: a column of parquet files, joined as one text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlxforge.errors import ForgeError
from mlxforge.evaluate.column import write_column
from mlxforge.steps.text import Text


def write(path: Path, rows: Any, *, column: str = "text", group: int = 3, **columns: Any) -> Path:
    """A parquet file of small row groups; ``rows`` may be an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: rows, **columns}), path, row_group_size=group)
    return path


def joined(files: Sequence[Path], out: Path, column: str = "text") -> str:
    digest = write_column(files, column, out, lambda done, total, unit: None)
    assert digest == hashlib.sha256(out.read_bytes()).hexdigest()
    return out.read_bytes().decode()


def test_rows_are_joined_by_blank_lines_in_the_order_of_the_files(tmp_path: Path) -> None:
    first = write(tmp_path / "b.parquet", ["", " = Title = \n", None, "é😀", "a\r\nb"], group=2)
    second = write(tmp_path / "a.parquet", [None, "last", ""])
    text = joined([first, second], tmp_path / "out")
    assert text == "\n\n".join(["", " = Title = \n", "é😀", "a\r\nb", "last", ""])


def test_many_rows_and_large_ones_are_the_same_text_in_batches(tmp_path: Path) -> None:
    rows = [f"row {number} " + "x" * (number % 7) for number in range(30_000)]
    rows[500] = "y" * 9_000_000
    file = write(tmp_path / "a.parquet", rows, group=10_000)
    assert joined([file], tmp_path / "out") == "\n\n".join(rows)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_kind_of_text_is_text(tmp_path: Path, kind: Any) -> None:
    file = write(tmp_path / "a.parquet", pa.array(["a", None, "b", "a"], kind))
    assert joined([file], tmp_path / "out") == "a\n\nb\n\na"


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.parquet", ["a", "b"] * 50) for i in range(3)]
    seen: list[tuple[int, int, str]] = []
    write_column(files, "text", tmp_path / "out", lambda *progress: seen.append(progress))
    done = [entry[0] for entry in seen]
    total = sum(file.stat().st_size for file in files)
    assert done == sorted(done) and seen[-1] == (total, total, "bytes")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("txt", "the column 'txt' does not exist in a.parquet\n  columns with text: text, title"),
        ("n", "the column 'n' is not text in a.parquet\n  columns with text: text, title"),
    ],
)
def test_a_column_that_holds_no_text_is_told_with_those_that_do(
    tmp_path: Path, column: str, told: str
) -> None:
    file = write(tmp_path / "a.parquet", ["a", "b"], n=[1, 2], title=["c", "d"])
    with pytest.raises(ForgeError) as caught:
        joined([file], tmp_path / "out", column)
    assert str(caught.value) == told


def test_a_column_of_nothing_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", pa.array([None, None], pa.string()))
    with pytest.raises(ForgeError, match="the column 'text' holds nothing"):
        joined([file], tmp_path / "out")


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    odd = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\xfe")]
    )
    file = write(tmp_path / "a.parquet", odd)
    with pytest.raises(ForgeError, match=r"a\.parquet cannot be read as parquet: .*UTF-?8"):
        joined([file], tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ForgeError, match=r"a\.parquet cannot be read as parquet: "):
        joined([tmp_path / "a.parquet"], tmp_path / "out")


def test_the_step_reads_the_files_it_names_and_no_others(tmp_path: Path) -> None:
    write(tmp_path / "in" / "data" / "test-00000-of-00001.parquet", ["a"])
    write(tmp_path / "in" / "data" / "train-00000-of-00001.parquet", ["b"])
    (tmp_path / "out").mkdir()
    step = Text("text", ("data/test-00000-of-00001.parquet",))
    digests = step.run({"dataset": tmp_path / "in"}, tmp_path / "out", lambda *progress: None)
    assert step.result(tmp_path / "out").read_text() == "a"
    assert digests == {"text.txt": hashlib.sha256(b"a").hexdigest()}
