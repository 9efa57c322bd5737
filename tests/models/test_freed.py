"""Freed arrays leave the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import mlx.core as mx
import psutil
from mlxforge.models.freed import give_back_freed
from mlxforge.models.writing.parallel import in_order

def work():
    made = []
    for _ in range(20):  # 8 MB each, with something small behind it that stays
        made.append(mx.ones((1024, 2048)))
        kept.append(mx.ones(1000))
        mx.eval(made[-1], kept[-1])

kept = []
if sys.argv[1] == "back":
    give_back_freed()
before = psutil.Process().memory_info().rss
for _ in range(3):
    list(in_order([work] * 2, 2))
print((psutil.Process().memory_info().rss - before) >> 20)
"""


def left(how: str) -> int:
    """MB that are left of arrays that are gone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps them")
def test_large_arrays_that_are_freed_go_back_to_the_system() -> None:
    assert left("back") < 60 < left("kept")
