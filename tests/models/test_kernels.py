"""The kernels that OpenBLAS takes are those that the processor can run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlxforge.models import kernels as chosen
from mlxforge.models.blas import promised
from mlxforge.models.kernels import VARIABLE, kernels, rounding
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.process import step_environment

SSE = "fpu sse sse2 ssse3 sse4_2"
AVX2 = f"{SSE} avx avx2 fma"
PROGRAM = """
import ctypes, json, sys
from pathlib import Path
from mlxforge.models.blas import load_blas
name = load_blas()
path = next(p for folder in map(Path, sys.path) for p in folder.glob(f"opencv*.libs/{name}"))
library = ctypes.CDLL(str(path))
library.openblas_get_corename.restype = ctypes.c_char_p
print(json.dumps([name, library.openblas_get_corename().decode()]))
"""


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def told(path: Path, flags: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    path.write_text(f"processor\t: 0\nmodel name\t: from the future\nflags\t\t: {flags}\n" * 2)
    monkeypatch.setattr(chosen, "CPUINFO", path)
    return kernels()


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (SSE, None),
        (AVX2.replace(" fma", ""), None),
        (AVX2, "Haswell"),
        (f"{AVX2} avx512f avx512cd", "Haswell"),  # Knights Landing
        (f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16", "SkylakeX"),
    ],
)
@pytest.mark.usefixtures("without")
def test_what_a_processor_can_do_decides(
    flags: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(tmp_path / "cpuinfo", flags, monkeypatch) == name


@pytest.mark.usefixtures("without")
def test_other_processors_are_left_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "CPUINFO", tmp_path / "there is none")
    assert kernels() is None
    arm = tmp_path / "cpuinfo"
    arm.write_text("Features\t: fp asimd evtstrm\n")
    monkeypatch.setattr(chosen, "CPUINFO", arm)
    assert kernels() is None


def test_what_was_asked_for_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "Zen")
    assert told(tmp_path / "cpuinfo", AVX2, monkeypatch) == "Zen"
    assert step_environment(Calibrate.drawn())[VARIABLE] == "Zen"


@pytest.mark.usefixtures("without")
def test_what_one_core_cannot_do_no_kernel_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlike = tmp_path / "cpuinfo"
    wide = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"
    unlike.write_text(f"flags\t: {AVX2}\n\nflags\t: {wide}\n")
    monkeypatch.setattr(chosen, "CPUINFO", unlike)
    assert kernels() == "Haswell"


@pytest.mark.usefixtures("without")
def test_keys_tell_the_processor_where_the_library_chooses_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(tmp_path / "new", AVX2, monkeypatch) == rounding() == "Haswell"
    assert told(tmp_path / "old", SSE, monkeypatch) is None
    assert rounding() == "model name from the future"
    arm = tmp_path / "arm"
    arm.write_text("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n" * 2)
    monkeypatch.setattr(chosen, "CPUINFO", arm)
    assert rounding() == "CPU implementer 0x41, CPU part 0xd0c"
    monkeypatch.setattr(chosen, "CPUINFO", tmp_path / "there is none")
    assert rounding() is None


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere MLX has a BLAS of its own")
@pytest.mark.skipif(kernels() is None, reason="the library chooses for itself")
def test_the_library_takes_them() -> None:
    if "opencv" not in str([*Path(np.__file__).parents[1].glob("opencv*.libs")]):
        pytest.skip("no OpenBLAS in this environment")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    name, core = json.loads(done.stdout)
    assert [promised(), kernels()] == [name, core]
