"""The least that a conversion can do: read every source byte, write as many as the result has.

read_write.py OUT BYTES SOURCE…
"""

from __future__ import annotations

import sys
from pathlib import Path

PIECE = 8 << 20


def main() -> None:
    out, size, *sources = sys.argv[1:]
    left = int(size)
    buffer = memoryview(bytearray(PIECE))
    with Path(out).open("wb", buffering=0) as written:
        for source in sources:
            with Path(source).open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    left -= written.write(buffer[: min(count, left)])
        while left:
            left -= written.write(buffer[: min(PIECE, left)])


if __name__ == "__main__":
    main()
