"""How large the pages of a parquet file are, by their own headers.

The file's footer tells sizes too, and readers do not hold it to them: a file of 500 bytes may
unpack to any size. What a page's header says is held, since so much memory is taken for it. And
no value is larger than a page: it stands in one, in a dictionary that is one, or is put together
from pieces within one. Pages: https://parquet.apache.org/docs/file-format/data-pages; headers:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any, BinaryIO

__all__ = ["largest_page"]

UNCOMPRESSED, COMPRESSED = 2, 3  # fields of a header
FIRST_BYTES = 256
MOST_BYTES = 16 << 20  # of a header, with the least and greatest value of its page
MOST_LEVELS = 8

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def largest_page(file: BinaryIO, chunk: Any) -> int:
    """Bytes of the largest page of a column in a row group, a dictionary too, uncompressed.

    ``chunk`` is a pyarrow ColumnChunkMetaData. Raises ValueError where there are no such pages.
    """
    place: int = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
        place = chunk.dictionary_page_offset
    end = place + chunk.total_compressed_size
    largest = 0
    while place < end:
        sizes, length = _header(file, place, end - place)
        unpacked, packed = sizes.get(UNCOMPRESSED, -1), sizes.get(COMPRESSED, -1)
        if unpacked < 0 or packed < 0:
            raise ValueError("a page header has no sizes")
        largest = max(largest, unpacked, packed)
        place += length + packed
    return largest


def _header(file: BinaryIO, place: int, most: int) -> tuple[dict[int, int], int]:
    """The whole numbers in a header by their fields, and its own length."""
    size = FIRST_BYTES
    while True:
        file.seek(place)
        cursor = _Cursor(file.read(min(size, most)))
        try:
            return cursor.struct(MOST_LEVELS), cursor.place
        except IndexError:
            if size >= min(most, MOST_BYTES):
                raise ValueError("a page header does not end") from None
            size *= 16


class _Cursor:
    """Reads Thrift's compact protocol. Raises IndexError where ``data`` is too short."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def struct(self, levels: int) -> dict[int, int]:
        """Its 32-bit fields; of a field that is there twice, the last, as other readers have it."""
        if not levels:
            raise ValueError("a page header is nested too deep")
        found = {}
        field = 0
        while start := self._byte():
            field = field + (start >> 4) if start >> 4 else _signed(self._number())
            if not 0 < field < 1 << 15:
                raise ValueError(f"a page header has a field {field}")
            if start & 15 == I32:
                number = self._number()
                if number >> 32:
                    raise ValueError("a page header has a number that is too large")
                found[field] = _signed(number)
            elif start & 15 not in (TRUE, FALSE):  # which have no body
                self._skip(start & 15, levels)
        return found

    def _skip(self, kind: int, levels: int) -> None:
        if not levels:
            raise ValueError("a page header is nested too deep")
        if kind in (TRUE, FALSE, BYTE):
            self._byte()
        elif kind in (I16, I32, I64):
            self._number()
        elif kind == DOUBLE:
            self._pass(8)
        elif kind == BINARY:
            self._pass(self._number())
        elif kind in (LIST, SET):
            start = self._byte()
            count = start >> 4 if start >> 4 < 15 else self._number()
            for _ in range(count):
                self._skip(start & 15, levels - 1)
        elif kind == STRUCT:
            self.struct(levels - 1)
        else:
            raise ValueError("a page header has a field of an unknown type")

    def _byte(self) -> int:
        byte = self.data[self.place]
        self.place += 1
        return byte

    def _number(self) -> int:
        """Seven bits a byte, the lowest first."""
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a page header has a number that is too large")
        return number | byte << shift

    def _pass(self, size: int) -> None:
        self.place += size
        if self.place > len(self.data):
            raise IndexError


def _signed(number: int) -> int:
    """Zigzag: 0, -1, 1, -2, … are written as 0, 1, 2, 3, …"""
    return number >> 1 ^ -(number & 1)
