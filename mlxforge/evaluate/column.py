"""A column of parquet files, as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlxforge.errors import ForgeError
from mlxforge.evaluate.pages import largest_page
from mlxforge.progress import Progress
from mlxforge.recipe.words import quoted

__all__ = ["write_column"]

BETWEEN = b"\n\n"
"""Between two rows, as the authors of GPTQ and AWQ join wikitext-2 where they score on it."""

BATCH_BYTES = 64 << 20
MOST_ROWS = 8192
MOST_ROW = 256 << 20
"""Bytes of UTF-8."""

MOST_PAGE = 1 << 30
"""Bytes: a page is in memory whole."""

BUFFER_BYTES = 1 << 20


def write_column(files: Sequence[Path], column: str, out: Path, progress: Progress) -> str:
    """Write the strings of ``column`` to ``out``, row after row and file after file, a blank line
    between two rows; rows that are null count for nothing. The sha256 of what was written.

    A batch of rows is in memory at a time, and the page that they stand in, whatever the files say
    of themselves. Raises ForgeError where there is no such column or it holds no text, and where
    one row or page would fill the memory.
    """
    sizes = [file.stat().st_size for file in files]
    digest = hashlib.sha256()
    between = b""
    with out.open("wb") as text:
        for number, file in enumerate(files):
            before, size = sum(sizes[:number]), sizes[number]
            for rows, share in _batches(file, column):
                if strings := [row for row in rows if row is not None]:
                    piece = between + BETWEEN.join(strings)
                    digest.update(piece)
                    text.write(piece)
                    between = BETWEEN
                progress(before + int(share * size), sum(sizes), "bytes")
        if not text.tell():
            raise ForgeError(f"the column {quoted(column)} holds nothing")
    return digest.hexdigest()


def _batches(file: Path, column: str) -> Iterator[tuple[list[bytes | None], float]]:
    """The column's rows as UTF-8, some megabytes at a time, and the share that was read then."""
    done = 0
    try:
        with file.open("rb") as pages, pq.ParquetFile(file, buffer_size=BUFFER_BYTES) as parquet:
            _check_column(file, parquet.schema_arrow, column)
            whole = parquet.metadata.num_rows
            for group in range(parquet.num_row_groups):
                rows = _rows_at_once(pages, parquet.metadata.row_group(group), column)
                for batch in parquet.iter_batches(rows, row_groups=[group], columns=[column]):
                    strings = _plain(batch.column(0))
                    _check_rows(file, column, strings, done)
                    done += len(strings)
                    yield strings.to_pylist(), done / whole
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, not the file's
        why = str(error).partition("\n")[0][:200]
        raise ForgeError(f"{file.name} cannot be read as parquet: {why}") from None


def _rows_at_once(pages: BinaryIO, group: Any, column: str) -> int:
    """So many rows of a row group that they take some megabytes, be each as large as a page."""
    chunks = [group.column(place) for place in range(group.num_columns)]
    sizes = [largest_page(pages, chunk) for chunk in chunks if chunk.path_in_schema == column]
    largest = max(1, *sizes)
    if largest > MOST_PAGE:
        raise ValueError(f"it has a page of {largest:,} bytes, more than {MOST_PAGE:,}")
    return max(1, min(MOST_ROWS, BATCH_BYTES // largest))


def _plain(rows: Any) -> Any:
    """The strings as they are written, each in full."""
    strings = rows.cast(pa.large_string())
    strings.validate(full=True)  # a writer may have put any bytes into a string
    return strings.cast(pa.large_binary())


def _check_rows(file: Path, column: str, strings: Any, before: int) -> None:
    if strings.nbytes <= MOST_ROW:
        return
    for number, size in enumerate(pc.binary_length(strings).to_pylist(), before + 1):
        if size is not None and size > MOST_ROW:
            raise ForgeError(
                f"row {number:,} of the column {quoted(column)} in {file.name} has {size:,} bytes",
                f"a row may have up to {MOST_ROW:,}: use another column or another data set",
            )


def _check_column(file: Path, schema: Any, column: str) -> None:
    texts = [field.name for field in schema if _is_text(field.type)]
    if column in texts:
        return
    what = "is not text" if column in schema.names else "does not exist"
    raise ForgeError(
        f"the column {quoted(column)} {what} in {file.name}",
        f"columns with text: {', '.join(texts)}" if texts else "no column of it holds text",
    )


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )
