"""A safetensors file is read only where its header can be true."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.models.source.headers import read_header


def write(path: Path, header: Any, data: bytes, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_a_file_that_mlx_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((2, 3)), "b": mx.zeros(4, dtype=mx.bfloat16)})
    header = read_header(path)
    assert {name: (info.dtype, info.shape) for name, info in header.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("BF16", (4,)),
    }


@pytest.mark.parametrize(
    "header,data,says",
    [
        ({"a": entry([2], 0, 8)}, b"\0" * 4, "cut off: the header describes"),
        ({"a": entry([2], 0, 8)}, b"\0" * 12, "4 bytes at its end belong to no tensor"),
        ({"a": entry([2], 0, 4)}, b"\0" * 4, "'a' of F32 [2] needs 8 bytes and its header"),
        ({"a": entry([-1], 0, 8)}, b"\0" * 8, "the entry of tensor 'a' is malformed"),
        ({"a": entry([2], 0, 8, "Q7")}, b"\0" * 8, "unknown dtype 'Q7'"),
        ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"\0" * 4, "'b' does not start where"),
        ({"a": entry([1], 4, 8)}, b"\0" * 8, "'a' does not start where"),
        ({"a": 7}, b"", "the entry of tensor 'a' is malformed"),
        ([1, 2], b"", "its header is not a map of tensors"),
        (b"{nonsense", b"", "its header is not JSON"),
        (b"[" * 50_000, b"", "its header is not JSON"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, data: bytes, says: str) -> None:
    path = write(tmp_path / "model.safetensors", header, data)
    with pytest.raises(ForgeError, match="is not a whole safetensors file") as caught:
        read_header(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("length", [9, 10**9, 2**63])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "model.safetensors", b"{}", b"", length)
    with pytest.raises(ForgeError, match=f"claims {length} bytes, the file has 10"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"\1\2\3"])
def test_a_file_too_short_for_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ForgeError):
        read_header(path)


@given(content=st.binary(max_size=200), length=st.integers(0, 200))
def test_no_bytes_bring_anything_but_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + content)
    try:
        read_header(path)
    except ForgeError as error:
        assert str(path) in error.message
