"""What the process of a step is started with."""

from __future__ import annotations

import pytest

from mlxforge.steps.gptq import Gptq
from mlxforge.steps.process import HUGE_PAGES, step_environment
from mlxforge.steps.quantize import Quantize

WANTED = ("rtn", 4, 64, "affine", "search", None, "none")


def test_tunables_of_the_user_stay_beside_those_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    both = step_environment(Quantize(*WANTED))["GLIBC_TUNABLES"]
    assert both == f"{HUGE_PAGES}:glibc.malloc.check=1"
    assert step_environment(Gptq(*WANTED))["GLIBC_TUNABLES"] == "glibc.malloc.check=1"


def test_without_tunables_of_the_user_a_step_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert step_environment(Quantize(*WANTED))["GLIBC_TUNABLES"] == HUGE_PAGES
    assert "GLIBC_TUNABLES" not in step_environment(Gptq(*WANTED))
