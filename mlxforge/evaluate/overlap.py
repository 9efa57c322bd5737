"""How much of one text stands in another, by runs of 13 words.

Brown et al. 2020 (Language Models are Few-Shot Learners, appendix C) look for test data in training
data by 13-grams of lower-cased words. The same here: a word is what stands between white space, and
a run counts as found where its 64-bit hash is among those of the other text. Two runs that differ
share a hash about once in 2^64 pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.progress import Progress

__all__ = ["RUN", "Overlap", "measure_overlap"]

RUN = 13  # words
EXAMPLES = 3
PIECE = 1 << 18  # characters that are hashed at once
LONGEST_WORD = 1 << 16  # characters: a longer one is taken apart, or it would fill the memory

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
STEP = np.uint64(0xD6E8FEB86659FD93)
GATE_BITS = 22
GATE_SHIFT = np.uint64(64 - GATE_BITS)


@dataclass(frozen=True)
class Overlap:
    """``share`` of the evaluation text's ``runs`` of words that stand in the calibration text,
    between 0 and 1, and the first words of up to three places where they do."""

    share: float
    runs: int
    examples: tuple[str, ...]


def measure_overlap(calibration: Path, evaluation: Path, words: int, progress: Progress) -> Overlap:
    """Look for the first ``words`` words of ``evaluation`` in the whole of ``calibration``.

    A token is hardly ever more than a word: the windows that a model is scored on end before
    that many words, and what comes later dilutes nothing. Memory grows with ``words`` alone.
    """
    text = _first_words(evaluation, words)
    wanted = _runs(_words(text))
    unique, places = np.unique(wanted, return_inverse=True)
    found = np.zeros(len(unique), dtype=bool)
    gate = np.zeros(1 << GATE_BITS, dtype=bool)  # looked into first: hardly a run gets through
    gate[unique >> GATE_SHIFT] = True
    total, done = calibration.stat().st_size, 0
    carried = np.empty(0, dtype=np.uint64)
    for piece in _pieces(calibration):
        carried = np.concatenate([carried, _words(piece)])
        runs = _runs(carried)
        _mark(found, unique, runs[gate[runs >> GATE_SHIFT]])
        carried = carried[max(0, len(carried) - RUN + 1) :]
        done += len(piece.encode())
        progress(min(done, total), total, "bytes")
        if found.all():
            break
    progress(total, total, "bytes")
    hits = found[places]
    share = float(hits.mean()) if len(hits) else 0.0
    return Overlap(share, len(hits), _examples(text, hits))


def _mark(found: np.ndarray, unique: np.ndarray, runs: np.ndarray) -> None:
    places = np.searchsorted(unique, runs)
    inside = places < len(unique)
    places, runs = places[inside], runs[inside]
    found[places[unique[places] == runs]] = True


def _examples(text: str, hits: np.ndarray) -> tuple[str, ...]:
    """The first run of words of each of the first stretches that were found."""
    starts = np.flatnonzero(hits & ~np.concatenate([[False], hits[:-1]]))[:EXAMPLES]
    if not len(starts):
        return ()
    words = text.split(" ")
    return tuple(" ".join(words[start : start + RUN])[:120] for start in starts)


def _first_words(path: Path, most: int) -> str:
    """At most so many words, one space between them."""
    found: list[str] = []
    for piece in _pieces(path):
        found += piece.split(" ")[: most - len(found)]
        if len(found) >= most:
            break
    return " ".join(found)


def _pieces(path: Path) -> Iterator[str]:
    """The text, whole words with one space between them, none of it empty."""
    rest = ""
    try:
        with path.open(encoding="utf-8") as file:
            while new := file.read(PIECE):
                text = rest + new
                cut = _last_space(text)
                if cut < 0 and len(text) > LONGEST_WORD:
                    cut = len(text)
                rest = text[cut:] if cut >= 0 else text
                if words := text[: max(cut, 0)].split():
                    yield " ".join(words)
    except UnicodeDecodeError as error:
        raise ForgeError(f"{path} is not UTF-8: {error.reason}") from None
    if words := rest.split():
        yield " ".join(words)


def _last_space(text: str) -> int:
    """Where the last word begins, which may go on; -1 where it is the only one."""
    if text[-1:].isspace():
        return len(text)
    words = text.rsplit(maxsplit=1)
    return len(text) - len(words[1]) if len(words) == 2 else -1


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


def _runs(words: np.ndarray) -> np.ndarray:
    """uint64 [n - RUN + 1]: a hash of each run of words, given theirs."""
    count = max(0, len(words) - RUN + 1)
    found = np.zeros(count, dtype=np.uint64)
    for place in range(RUN):
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
