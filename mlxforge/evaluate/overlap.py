"""How much of one text stands in another, by runs of 13 words.

Brown et al. 2020 (Language Models are Few-Shot Learners, appendix C) look for test data in training
data by 13-grams of lower-cased words. The same here, with mlxforge.evaluate.words' notion of a
word. Where a text has less than 13 words, runs are as long as it is: it is looked for whole. A run
counts as found where its 64-bit hash is among those of the other text. Two runs that differ share
a hash about once in 2^64 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mlxforge.evaluate.words import first_words, pieces, together
from mlxforge.progress import Progress

__all__ = ["RUN", "Overlap", "measure_overlap"]

RUN = 13  # words
EXAMPLES = 3

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
STEP = np.uint64(0xD6E8FEB86659FD93)
GATE_BITS = 22
GATE_SHIFT = np.uint64(64 - GATE_BITS)


@dataclass(frozen=True)
class Overlap:
    """``share`` of the evaluation text's ``runs`` of ``run`` words that stand in the calibration
    text, between 0 and 1, and the first words of up to three places where they do.

    ``run`` is 13, or less where one of the texts has less words; 0 where one has none.
    """

    share: float
    runs: int
    run: int
    examples: tuple[str, ...]


def measure_overlap(calibration: Path, evaluation: Path, words: int, progress: Progress) -> Overlap:
    """Look for the first ``words`` words of ``evaluation`` in the whole of ``calibration``.

    A token is hardly ever more than a word, or than four where words are letters: the windows that
    a model is scored on end before that many words, or four times as many letters, and what comes
    later dilutes nothing. Memory grows with ``words`` alone.
    """
    text = first_words(evaluation, words)
    run = min(RUN, len(text.split()), len(first_words(calibration, RUN).split()))
    if not run:
        return Overlap(0.0, 0, 0, ())
    wanted = _runs(_words(text), run)
    unique, places = np.unique(wanted, return_inverse=True)
    found = np.zeros(len(unique), dtype=bool)
    gate = np.zeros(1 << GATE_BITS, dtype=bool)  # looked into first: hardly a run gets through
    gate[unique >> GATE_SHIFT] = True
    total = calibration.stat().st_size
    carried = np.empty(0, dtype=np.uint64)
    for piece, done in pieces(calibration):
        carried = np.concatenate([carried, _words(piece)])
        runs = _runs(carried, run)
        _mark(found, unique, runs[gate[runs >> GATE_SHIFT]])
        carried = carried[max(0, len(carried) - run + 1) :]
        progress(min(done, total), total, "bytes")
        if found.all():
            break
    progress(total, total, "bytes")
    hits = found[places]
    return Overlap(float(hits.mean()), len(hits), run, _examples(text, hits, run))


def _mark(found: np.ndarray, unique: np.ndarray, runs: np.ndarray) -> None:
    places = np.searchsorted(unique, runs)
    inside = places < len(unique)
    places, runs = places[inside], runs[inside]
    found[places[unique[places] == runs]] = True


def _examples(text: str, hits: np.ndarray, run: int) -> tuple[str, ...]:
    """The first run of words of each of the first stretches that were found."""
    starts = np.flatnonzero(hits & ~np.concatenate([[False], hits[:-1]]))[:EXAMPLES]
    if not len(starts):
        return ()
    words = text.split(" ")
    return tuple(together(" ".join(words[start : start + run]))[:120] for start in starts)


def _words(text: str) -> np.ndarray:
    """uint64 [n]: a hash of each lower-cased word, words being parted by one space.

    The polynomial sum of byte_i * BASE^i over the word, modulo 2^64, from sums over the whole
    text: BASE is odd, so that it has an inverse.
    """
    if not text:
        return np.empty(0, dtype=np.uint64)
    data = np.frombuffer(text.lower().encode(), dtype=np.uint8)
    powers, inverses = _powers(BASE, len(data)), _powers(INVERSE, len(data))
    terms = (data.astype(np.uint64) + np.uint64(1)) * powers
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
    ends = np.append(np.flatnonzero(data == ord(" ")), len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return _mixed((sums[ends] - sums[starts]) * inverses[starts])


def _runs(words: np.ndarray, run: int) -> np.ndarray:
    """uint64 [n - run + 1]: a hash of each run of words, given theirs."""
    count = max(0, len(words) - run + 1)
    found = np.zeros(count, dtype=np.uint64)
    for place in range(run):
        found = found * STEP + words[place : place + count]
    return _mixed(found)


def _powers(base: np.uint64, count: int) -> np.ndarray:
    """uint64: base^0 … base^(count - 1), modulo 2^64."""
    return _more_powers(base, 1 << count.bit_length())[:count]


@lru_cache(maxsize=4)
def _more_powers(base: np.uint64, count: int) -> np.ndarray:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele et al. 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
