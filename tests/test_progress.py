"""How fast a step was, by what it told of itself, and what its manifest keeps of that."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from mlxforge import progress
from mlxforge.progress import Meter, Work
from mlxforge.store.manifest import Manifest


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Every look at it is ``step`` seconds after the one before."""
    looks = itertools.count(1)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100 + step * next(looks))


def test_a_rate_is_of_what_was_done_while_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.5)
    told: list[tuple[int, int, str]] = []
    meter = Meter(lambda done, total, unit: told.append((done, total, unit)))
    reports = [
        *((700, 1000, "bytes"), (800, 1000, "bytes"), (1000, 1000, "bytes")),  # 700 were there
        *((64, 128, "tokens"), (128, 128, "tokens")),
        (1, 1, "samples"),
    ]
    for report in reports:
        meter(*report)
    assert told == reports
    assert meter.work() == {"bytes": Work(300, 1.0), "tokens": Work(64, 0.5)}


@pytest.mark.parametrize("step", [0, 1e-7])
def test_what_took_no_time_has_no_rate(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, step)
    meter = Meter(lambda done, total, unit: None)
    for done in (1, 2):
        meter(done, 2, "bytes")
    assert meter.work() == {}


def test_nothing_is_said_of_what_was_there_before() -> None:
    meter = Meter(lambda done, total, unit: None)
    for _ in range(2):
        meter(1000, 1000, "bytes")
    assert meter.work() == {}


def test_a_manifest_keeps_it_and_older_ones_have_none(tmp_path: Path) -> None:
    made = Manifest(
        "quantize", "5d", "91", {}, {}, {"system": "Linux x86_64"}, 1.5,
        {"bytes": Work(300, 0.25)}, 74_000_000,
    )  # fmt: skip
    file = tmp_path / "manifest.json"
    file.write_text(made.dumps())
    assert Manifest.load(file) == made
    raw = json.loads(made.dumps())
    del raw["work"], raw["peak_bytes"]
    file.write_text(json.dumps(raw))
    older = Manifest.load(file)
    assert older.work == {} and older.peak_bytes is None and older.seconds == 1.5
