"""How much of one text stands in another."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from mlxforge.errors import ForgeError
from mlxforge.evaluate import overlap as module
from mlxforge.evaluate.overlap import RUN, Overlap, measure_overlap
from mlxforge.steps.overlap import Overlap as OverlapStep

ALL = 1 << 30


def words(seed: int, count: int) -> list[str]:
    chooser = random.Random(seed)
    return [f"w{chooser.randrange(10_000)}" for _ in range(count)]


def measured(tmp_path: Path, calibration: str, evaluation: str, most: int = ALL) -> Overlap:
    (tmp_path / "calibration").write_text(calibration, encoding="utf-8")
    (tmp_path / "evaluation").write_text(evaluation, encoding="utf-8")
    return measure_overlap(
        tmp_path / "calibration", tmp_path / "evaluation", most, lambda *progress: None
    )


def plainly(calibration: str, evaluation: str) -> float:
    """The share by sets of tuples of words."""

    def runs(text: str) -> list[tuple[str, ...]]:
        found = text.lower().split()
        return [tuple(found[i : i + RUN]) for i in range(len(found) - RUN + 1)]

    known, wanted = set(runs(calibration)), runs(evaluation)
    return sum(run in known for run in wanted) / len(wanted)


def test_texts_that_share_nothing_and_texts_that_share_all(tmp_path: Path) -> None:
    one, other = " ".join(words(1, 5000)), " ".join(words(2, 5000))
    assert measured(tmp_path, one, other) == Overlap(0.0, 4988, ())
    assert measured(tmp_path, one, one).share == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_plain_sets_of_words(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = random.Random(seed)
    monkeypatch.setattr(module, "PIECE", 1000)  # words and runs go over the ends of pieces
    one, other = words(seed, 4000), words(seed + 100, 3000)
    for _ in range(12):
        size, start, place = (chooser.randrange(5, 60), *(chooser.randrange(2900) for _ in "ab"))
        other[place : place + size] = one[start : start + size]
    spaces = [" ", "\n", "  ", "\t", "\n\n", "\u3000", "\u00a0", "\r\n"]
    calibration, evaluation = (
        "".join(chooser.choice((word, word.upper())) + chooser.choice(spaces) for word in listed)
        for listed in (one, other)
    )
    found = measured(tmp_path, calibration, evaluation)
    assert 0 < found.share < 0.5
    assert found.share == pytest.approx(plainly(calibration, evaluation), abs=1e-12)
    assert found.runs == len(other) - RUN + 1


def test_twelve_words_are_chance_and_thirteen_are_not(tmp_path: Path) -> None:
    one, other = words(1, 500), words(2, 500)
    short = [*other[:100], *one[50:62], *other[100:]]
    long = [*other[:100], *one[50:63], *other[100:]]
    assert measured(tmp_path, " ".join(one), " ".join(short)).share == 0
    found = measured(tmp_path, " ".join(one), " ".join(long))
    assert found.share * found.runs == pytest.approx(1)
    assert found.examples == (" ".join(one[50:63]),)


def test_three_places_are_shown_as_they_are_written(tmp_path: Path) -> None:
    one, other = words(1, 500), words(2, 500)
    for place in (0, 100, 200, 300):
        other[place : place + 20] = [word.upper() for word in one[place : place + 20]]
    found = measured(tmp_path, " ".join(one), "\n".join(other))
    assert found.examples == tuple(" ".join(other[p : p + RUN]) for p in (0, 100, 200))


def test_only_what_can_be_scored_is_looked_at(tmp_path: Path) -> None:
    one, other = words(1, 500), words(2, 5000)
    copied = " ".join([*one, *other])
    assert measured(tmp_path, " ".join(one), copied, 500).share == 1
    assert measured(tmp_path, " ".join(one), copied, 1000).share == pytest.approx(488 / 988)
    assert measured(tmp_path, " ".join(other), copied, 500).share == 0


def test_letters_of_any_script_count(tmp_path: Path) -> None:
    text = "Ὀδυσσεὺς ΟΔΥΣΣΕΥΣ İstanbul STRASSE ß \U0001f600 " * 10
    assert measured(tmp_path, text.lower(), text).share == 1
    assert measured(tmp_path, text.replace("ß", "x"), text).share == 0


@pytest.mark.parametrize("text", ["", " \n ", "one word after another"])
def test_a_text_that_is_shorter_than_a_run_overlaps_with_nothing(tmp_path: Path, text: str) -> None:
    assert measured(tmp_path, text, text) == Overlap(0.0, 0, ())


def test_a_text_without_spaces_is_taken_apart(tmp_path: Path) -> None:
    endless = "".join(words(3, 400_000))
    assert measured(tmp_path, endless, endless) == measured(tmp_path, endless, endless)


def test_words_that_differ_have_different_hashes() -> None:
    many = [f"{a}{b}" for a in words(5, 300) for b in words(6, 300)] + ["a", "aa", "ab", "ba"]
    hashes = module._words(" ".join(dict.fromkeys(many)))
    assert len(np.unique(hashes)) == len(hashes) == len(set(many))


def test_what_is_not_utf_8_is_told(tmp_path: Path) -> None:
    for name in ("calibration", "evaluation"):
        (tmp_path / name).write_bytes(b"a \xff b")
    with pytest.raises(ForgeError, match="evaluation is not UTF-8: invalid start byte"):
        measure_overlap(tmp_path / "calibration", tmp_path / "evaluation", 9, lambda *_: None)


def test_the_step_writes_the_figures(tmp_path: Path) -> None:
    text = " ".join(words(1, 100))
    (tmp_path / "text").write_text(text)
    (tmp_path / "out").mkdir()
    inputs = {"calibration": tmp_path / "text", "evaluation": tmp_path / "text"}
    OverlapStep(50).run(inputs, tmp_path / "out", lambda *progress: None)
    document = json.loads((tmp_path / "out" / "overlap.json").read_text())
    first = " ".join(text.split()[:RUN])
    assert document == {"share": 1.0, "runs": 38, "examples": [first]}
