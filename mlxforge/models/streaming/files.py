"""Reading parts of the tensors in a folder's safetensors files, straight from the disk."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.models.source.headers import DTYPE_BITS, TensorInfo
from mlxforge.models.streaming.boxes import Box, cover, offset, shape_of, within

__all__ = ["StoredTensors"]

SHORT_RUN = 512  # bytes: shorter runs are read with what lies between them, if that is not
MOST_BETWEEN = 8  # times what is wanted
OTHER_FILES = 128  # that may be open beside them
UNSIGNED: Mapping[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class StoredTensors:
    """Tensors by name, each read in boxes by ``pread``: from any thread, no more than asked for.

    A file that ends early, vanishes or cannot be read is a ForgeError that names it.
    """

    def __init__(self, tensors: Mapping[str, tuple[Path, TensorInfo]]) -> None:
        self._tensors = tensors
        paths = {path for path, _ in tensors.values()}
        _allow_open_files(len(paths))
        self._open = {path: _opened(path) for path in paths}

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, name: str, box: Box, dtype: mx.Dtype) -> mx.array:
        """The part ``box`` of a tensor, taken as ``dtype``."""
        path, info = self._tensors[name]
        return mx.array(self._gather(path, info, box)).view(dtype)

    def _gather(self, path: Path, info: TensorInfo, box: Box) -> np.ndarray:
        size = DTYPE_BITS[info.dtype] // 8
        around = cover(info.shape, box)
        if around == box:
            return self._box(path, info, box, size)
        wide = next(axis for axis, (start, stop) in enumerate(box) if stop - start > 1)
        run = math.prod(shape_of(box[wide + 1 :])) * size
        if run < SHORT_RUN and math.prod(shape_of(around)) <= MOST_BETWEEN * math.prod(
            shape_of(box)
        ):
            return np.ascontiguousarray(self._box(path, info, around, size)[within(around, box)])
        rows = ((*box[:wide], (row, row + 1), *box[wide + 1 :]) for row in range(*box[wide]))
        return np.concatenate([self._gather(path, info, row) for row in rows], axis=wide)

    def _box(self, path: Path, info: TensorInfo, box: Box, size: int) -> np.ndarray:
        shape = shape_of(box)
        found: np.ndarray = np.empty(shape, dtype=UNSIGNED[size])
        self._fill(
            path, found.reshape(-1).view(np.uint8).data, info.start + offset(info.shape, box) * size
        )
        return found

    def _fill(self, path: Path, buffer: memoryview, position: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._open[path], [buffer[done:]], position + done)
            except OSError as error:
                raise _unreadable(path, error) from error
            if count == 0:
                size = os.fstat(self._open[path]).st_size
                raise ForgeError(
                    f"{path} ends at byte {size}: it was cut off while it was read",
                    "get the file again, then build again",
                )
            done += count


def _allow_open_files(count: int) -> None:
    """Some systems start programs with a limit of 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ForgeError:
    return ForgeError(f"{path} cannot be read: {os.strerror(error.errno or 0)}")
