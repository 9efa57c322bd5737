"""What the process of a step is started with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlxforge.steps.gptq import Gptq
from mlxforge.steps.process import GIVEN_BACK, HUGE_PAGES, step_environment
from mlxforge.steps.quantize import Quantize

LARGE = 12 << 20
GROWN = f"""
import numpy as np, psutil
def taken(): return psutil.Process().memory_info().rss
for _ in range(3):  # glibc's own threshold rises with what is freed
    del_me = np.ones({2 * LARGE}, np.uint8); del del_me
before = taken()
large, small = [], []
for _ in range(8):
    large.append(np.ones({LARGE}, np.uint8)); small.append(np.ones(70_000, np.uint8))
del large
print(taken() - before)
"""


def test_tunables_of_the_user_stay_beside_those_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    wanted = ("rtn", 4, 64, "affine", "search", None, "none")
    for step, ours in ((Gptq(*wanted), GIVEN_BACK), (Quantize(*wanted), HUGE_PAGES)):
        assert step_environment(step)["GLIBC_TUNABLES"] == f"{ours}:glibc.malloc.check=1"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_gptq_frees_goes_back_to_the_system() -> None:
    environment = step_environment(Gptq("gptq", 4, 64, "affine", "search", None, "none"))
    done = subprocess.run(
        [sys.executable, "-c", GROWN], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < LARGE
