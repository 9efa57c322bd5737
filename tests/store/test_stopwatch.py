"""The time that a step takes is that of all its runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mlxforge.store import stopwatch
from mlxforge.store.stopwatch import Stopwatch


def quiet(done: int, total: int, unit: str) -> None: ...


def test_a_run_goes_on_from_what_a_killed_one_has_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first = Stopwatch(tmp_path)
    tell = first.listening(quiet)
    for clock[0] in (101.0, 107.0, 109.0):
        tell(1, 2, "layers")
    assert first.seconds() == 9.0

    clock[0] = 1000.0  # killed at 109, what was told last was 107
    second = Stopwatch(tmp_path)
    clock[0] = 1003.0
    assert second.seconds() == 10.0


@pytest.mark.parametrize("left", ["", "soon", "-5", "nan", "inf"])
def test_what_cannot_be_read_counts_as_nothing(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / stopwatch.NAME).write_text(left)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert Stopwatch(tmp_path).seconds() == 0.0


def test_a_step_without_checkpoints_leaves_nothing(tmp_path: Path) -> None:
    seen = []
    watch = Stopwatch(None)
    watch.listening(lambda *told: seen.append(told))(1, 2, "layers")
    assert seen == [(1, 2, "layers")] and watch.seconds() < 5
