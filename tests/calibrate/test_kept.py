"""What outlives a killed process, how often it is worth its time, and where it has no room."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from mlxforge.calibrate import kept as module
from mlxforge.calibrate.halts import Halts
from mlxforge.calibrate.kept import EVERY, TIMES, Kept, Pace
from mlxforge.calibrate.shelf import Shelf


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def keeping(pace: Pace, clock: Clock, seconds: float) -> None:
    with pace.keeping():
        clock.now += seconds


def test_a_minute_of_work_is_kept_where_that_is_quick(clock: Clock) -> None:
    pace = Pace()
    assert not pace.due()
    clock.now += EVERY
    assert pace.due()
    keeping(pace, clock, 1)
    clock.now += EVERY - 1
    assert not pace.due()
    clock.now += 1
    assert pace.due()


def test_keeping_that_takes_long_is_done_less_often(clock: Clock) -> None:
    pace = Pace()
    clock.now += EVERY
    keeping(pace, clock, 30)
    clock.now += TIMES * 30 - 1
    assert not pace.due()
    clock.now += 1
    assert pace.due()


def test_names_and_facts_are_told_without_the_arrays(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.told("one") is None and kept.load("one") is None
    kept.save("one", {"a": mx.arange(3), "b": mx.ones(2)}, loss=0.5)
    told = kept.told("one")
    assert told and (told.names, told.facts) == ({"a", "b"}, {"loss": 0.5})
    assert not [*tmp_path.glob("*.part*")]


def halts_at(folder: Path) -> Halts:
    states = Shelf().states(2)
    states[0], states[1] = mx.zeros(1000), mx.ones(1000)
    return Halts(Kept(folder), {"source": states})


def test_a_halt_needs_room_for_itself_beside_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0)
    free = SimpleNamespace(free=2 * 8000 - 1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: free)
    halts_at(tmp_path).keep(3)
    assert not [*tmp_path.iterdir()]
    free.free += 1
    halts_at(tmp_path).keep(3)
    assert halts_at(tmp_path).found()[0] == 3
