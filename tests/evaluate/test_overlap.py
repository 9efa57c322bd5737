"""How much of one text stands in another."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from mlxforge.errors import ForgeError
from mlxforge.evaluate import overlap as module
from mlxforge.evaluate import words as reading
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
    assert measured(tmp_path, one, other) == Overlap(0.0, 4988, RUN, ())
    assert measured(tmp_path, one, one).share == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_plain_sets_of_words(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = random.Random(seed)
    monkeypatch.setattr(reading, "PIECE", 1000)  # words and runs go over the ends of pieces
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


@pytest.mark.parametrize(
    "text",
    [
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
        "我們的目標是在任何硬體上都能得到相同的結果。並且說明每一個步驟。",
        "ฉันอยากให้ข้อความนี้ถูกพบแม้ไม่มีช่องว่างระหว่างคำ",
        "ຂ້ອຍຢາກໃຫ້ພົບຂໍ້ຄວາມນີ້ເຖິງບໍ່ມີຍະຫວ່າງ",
        "ខ្ញុំចង់ឱ្យអត្ថបទនេះត្រូវបានរកឃើញ",
        "ဤစာသားကိုရှာတွေ့စေချင်သည်",
        "𠀀𠀁𠀂𠀃𠀄𠀅𠀆𠀇𠀈𠀉𠀊𠀋𠀌𠀍𠀎𠀏",
    ],
)
def test_scripts_without_spaces_are_compared_by_their_letters(tmp_path: Path, text: str) -> None:
    found = measured(tmp_path, f"before{text}after", f"{text}\n")
    assert (found.share, found.runs) == (1.0, len(text) - RUN + 1)
    assert found.examples == (text[:RUN],)
    assert measured(tmp_path, text[::-1], text).share == 0


def test_a_word_of_another_script_between_such_letters_is_a_word(tmp_path: Path) -> None:
    text = "これはNVIDIAのH100で計測した値です"
    assert measured(tmp_path, text, f"\n{text}").runs == 14 - RUN + 1
    found = measured(tmp_path, f"値は{text}。", text)
    assert found.share == 1.0 and found.examples == ("これは NVIDIA の H100 で計測した値で",)


def test_windows_may_hold_more_letters_than_tokens(tmp_path: Path) -> None:
    chooser = random.Random(0)
    text = "".join(chr(chooser.randrange(0x4E00, 0x9FFF)) for _ in range(1000))
    assert measured(tmp_path, text, text, 100).runs == 400 - RUN + 1
    assert measured(tmp_path, text, text, 500).runs == 1000 - RUN + 1


@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_text_that_is_shorter_than_a_run_is_looked_for_whole(tmp_path: Path, count: int) -> None:
    one, other = words(1, 500), words(2, 500)
    short = " ".join(one[50 : 50 + count])
    assert measured(tmp_path, " ".join(one), short) == Overlap(1.0, 1, count, (short,))
    assert measured(tmp_path, " ".join(other), f"x{short}x").share == 0
    found = measured(tmp_path, short, " ".join(one))
    assert (found.runs, found.run, found.examples) == (500 - count + 1, count, (short,))
    assert found.share * found.runs == pytest.approx(1)


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_text_of_no_words_has_no_runs(tmp_path: Path, text: str) -> None:
    assert measured(tmp_path, text, text) == Overlap(0.0, 0, 0, ())
    assert measured(tmp_path, "a b", text) == Overlap(0.0, 0, 0, ())
    assert measured(tmp_path, text, "a b") == Overlap(0.0, 0, 0, ())


@pytest.mark.parametrize("piece", [100, 1 << 18])
def test_a_word_without_end_is_compared_by_its_letters(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE", piece)
    endless = "".join(words(3, 5_000))
    found = measured(tmp_path, f"before {endless} after", f"some{endless}\nmore")
    assert found.runs == len(endless) + 5 - RUN + 1
    assert found.share * found.runs == pytest.approx(len(endless) - RUN + 1)
    assert measured(tmp_path, endless, f"{endless[:257]} {words(4, 1)[0]}").share > 0.99
    short = measured(tmp_path, endless, " ".join([endless[:256]] * 20))
    assert (short.share, short.runs) == (0.0, 20 - RUN + 1)


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
    assert document == {"share": 1.0, "runs": 38, "run": RUN, "examples": [first]}
