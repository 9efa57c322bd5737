"""The text step: a column of parquet files, joined as one text."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlxforge.errors import ForgeError
from mlxforge.evaluate import column as module
from mlxforge.evaluate.column import write_column
from mlxforge.evaluate.pages import largest_page
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


def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each batch of strings that is decoded from now on."""
    seen: list[int] = []
    plain = module._plain

    def plain_and_seen(rows: Any) -> Any:
        strings = plain(rows)
        seen.append(strings.nbytes)
        return strings

    monkeypatch.setattr(module, "_plain", plain_and_seen)
    return seen


@pytest.mark.parametrize(
    ("encoding", "kind"),
    [
        ("RLE_DICTIONARY", pa.string()),
        ("RLE_DICTIONARY", pa.dictionary(pa.int32(), pa.string())),
        ("DELTA_BYTE_ARRAY", pa.string()),  # each row by what it shares with the one before
        ("PLAIN", pa.string()),
    ],
    ids=str,
)
def test_a_small_file_of_many_large_rows_is_decoded_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, kind: Any
) -> None:
    row = "x" * (1 << 19)
    monkeypatch.setattr(module, "BATCH_BYTES", 4 << 20)
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), [row])
    table = pa.table({"text": dictionary.cast(kind)})
    plainly = {} if encoding == "RLE_DICTIONARY" else {"column_encoding": {"text": encoding}}
    pq.write_table(
        table, tmp_path / "a.parquet", compression="zstd", use_dictionary=not plainly, **plainly
    )
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    seen = most_at_once(monkeypatch)
    assert joined([tmp_path / "a.parquet"], tmp_path / "out") == "\n\n".join([row] * 50)
    assert max(seen) <= (4 << 20) * 1.01


def test_small_rows_before_large_ones_do_not_make_a_large_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 4 << 20)
    places = [0] * 20_000 + [1] * 20
    rows = pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), ["a", "x" * (1 << 20)])
    file = write(tmp_path / "a.parquet", rows, group=1 << 20)
    seen = most_at_once(monkeypatch)
    assert len(joined([file], tmp_path / "out")) == 20_000 * 3 + 20 * ((1 << 20) + 2) - 2
    assert max(seen) <= (4 << 20) * 1.01


def test_a_row_that_is_too_large_is_told_with_its_file_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROW", 1000)
    file = write(tmp_path / "a.parquet", ["a", None, "b" * 1000, "c", "d" * 1001], group=4)
    with pytest.raises(ForgeError) as caught:
        joined([file], tmp_path / "out")
    assert str(caught.value) == (
        "row 5 of the column 'text' in a.parquet has 1,001 bytes\n"
        "  a row may have up to 1,000: use another column or another data set"
    )


def test_a_page_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAGE", 1000)
    file = write(tmp_path / "a.parquet", [f"{number:04}" for number in range(500)], group=500)
    with pytest.raises(ForgeError, match=r"a\.parquet .* page of [0-9,]+ bytes, more than 1,000"):
        joined([file], tmp_path / "out")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_the_pages_are_read_as_they_are_written(
    tmp_path: Path, version: str, use_dictionary: bool
) -> None:
    rows = [f"row {number} " + "y" * (number % 50) for number in range(20_000)]
    pq.write_table(
        pa.table({"text": rows}), tmp_path / "a.parquet", data_page_version=version,
        use_dictionary=use_dictionary, data_page_size=10_000, write_page_checksum=True,
        write_page_index=True, compression="zstd",
    )  # fmt: skip
    chunk = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0)
    with (tmp_path / "a.parquet").open("rb") as file:
        largest = largest_page(file, chunk)
    whole = chunk.total_uncompressed_size
    assert (
        (whole // 2 if use_dictionary else 10_000) < largest < (whole if use_dictionary else 80_000)
    )


class Chunk:
    """Where the pages are, as pyarrow tells it."""

    has_dictionary_page = False
    data_page_offset = 0

    def __init__(self, data: bytes) -> None:
        self.total_compressed_size = len(data)


def header(*fields: bytes) -> bytes:
    return b"".join(fields) + b"\0"


KIND, SIZE, PACKED = b"\x15\x00", b"\x15\x80\x7d", b"\x15\x04"  # a data page, 8000 bytes, 2 stored


@pytest.mark.parametrize(
    ("data", "largest"),
    [
        (header(KIND, SIZE, PACKED) + b"..", 8000),
        (header(KIND, b"\x15\x02", PACKED) + b".." + header(KIND, SIZE, PACKED) + b"..", 8000),
        # fields that are not known: a struct of a truth, a list of two truths, a binary, a double
        (header(KIND, SIZE, PACKED, b"\x1c\x11\0", b"\x19\x21\1\2", b"\x18\x02ab",
                b"\x17" + bytes(8)) + b"..", 8000),
        # a field that is written twice counts as the reader counts it: the last one
        (header(KIND, b"\x15\x02", PACKED, b"\x05\x04\x80\x7d") + b"..", 8000),
        (header(KIND, b"\x15\x02", PACKED, b"\x18\xd0\x0f" + b"m" * 2000, b"\x05\x04\x80\x7d")
         + b"..", 8000),
    ],
)  # fmt: skip
def test_a_page_header_may_hold_more_than_is_known(data: bytes, largest: int) -> None:
    assert largest_page(io.BytesIO(data), Chunk(data)) == largest


@pytest.mark.parametrize(
    "data",
    [
        header(KIND),  # no sizes
        header(KIND, b"\x15\x01", PACKED),  # a negative size
        header(KIND, SIZE, b"\x15\x03"),
        header(KIND, b"\x15\xff\xff\xff\xff\xff\x01", PACKED),  # more than 32 bits
        header(KIND, SIZE, PACKED, b"\x05\x84\x80\x08\x80\x7d"),  # a field's number of 17 bits
        header(KIND, SIZE, PACKED, b"\x1d"),  # no such type
        b"\x1c" * 100_000,  # without end
        b"\x15\x00\x15",
        b"\xff" * 100,
        header(KIND, SIZE, PACKED, b"\x19\xf5\xff\xff\xff\xff\x0f"),
    ],
)
def test_what_is_no_page_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="page header"):
        largest_page(io.BytesIO(data), Chunk(data))


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
