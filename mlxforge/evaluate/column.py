"""A column of parquet files, as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlxforge.errors import ForgeError
from mlxforge.progress import Progress
from mlxforge.recipe.words import quoted

__all__ = ["write_column"]

BETWEEN = b"\n\n"
"""Between two rows, as the authors of GPTQ and AWQ join wikitext-2 where they score on it."""

BATCH_BYTES = 4 << 20
MOST_ROWS = 8192
BUFFER_BYTES = 1 << 20


def write_column(files: Sequence[Path], column: str, out: Path, progress: Progress) -> str:
    """Write the strings of ``column`` to ``out``, row after row and file after file, a blank line
    between two rows; rows that are null count for nothing. The sha256 of what was written.

    A batch of rows is in memory at a time. Raises ForgeError where there is no such column or it
    holds no text.
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
        with pq.ParquetFile(file, buffer_size=BUFFER_BYTES) as parquet:
            _check_column(file, parquet.schema_arrow, column)
            whole = parquet.metadata.num_rows
            for group in range(parquet.num_row_groups):
                rows = _rows_at_once(parquet.metadata.row_group(group), column)
                for batch in parquet.iter_batches(rows, row_groups=[group], columns=[column]):
                    strings = batch.column(0).cast(pa.large_string())
                    strings.validate(full=True)  # a writer may have put any bytes into a string
                    done += len(strings)
                    yield strings.cast(pa.large_binary()).to_pylist(), done / whole
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, not the file's
        why = str(error).partition("\n")[0][:200]
        raise ForgeError(f"{file.name} cannot be read as parquet: {why}") from None


def _rows_at_once(group: Any, column: str) -> int:
    """As many rows of a row group as make up some megabytes."""
    sizes: list[int] = [
        group.column(place).total_uncompressed_size
        for place in range(group.num_columns)
        if group.column(place).path_in_schema == column
    ]
    average = max(1, sum(sizes) // max(1, int(group.num_rows)))
    return max(1, min(MOST_ROWS, BATCH_BYTES // average))


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
