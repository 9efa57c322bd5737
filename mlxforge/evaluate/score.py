"""Scoring models over windows of tokens, in waves.

A wave is as many windows as make up some two thousand tokens. It runs through the model at once,
so that weights which do not stay in memory are read once per wave, and its logits are computed
and let go a piece of tokens by a piece of the vocabulary at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.evaluate.tally import Tally
from mlxforge.models.scoring.loading import attention, check_tokens
from mlxforge.models.scoring.split import Head, Split, cut_head, split_model
from mlxforge.models.writing.parallel import cores
from mlxforge.progress import Progress

__all__ = ["Scores", "Source", "score_model", "score_source"]

WAVE_TOKENS = 2048
LOGIT_BYTES = 32 << 20  # of one piece of logits in float32
PROBE = 16  # tokens

SOURCE_HINT = "its weights or activations overflow, or the text is not for this model"
MODEL_HINT = "its weights or activations overflow: try `dtype: bfloat16` or more bits"


@dataclass(frozen=True)
class Source:
    """What a model is compared with: the source, of which only the head runs, and its states
    (float32 [windows, length - 1, width]; ``whole`` says that they are logits)."""

    model: nn.Module
    whole: bool
    states: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Per predicted token, each [windows, length - 1]: losses and divergences in nats.

    ``divergence`` and ``agrees`` are None where there was no source to compare with.
    """

    losses: np.ndarray
    divergence: np.ndarray | None = None
    agrees: np.ndarray | None = None


def score_source(
    model: nn.Module, windows: np.ndarray, states_file: Path, progress: Progress
) -> tuple[np.ndarray, bool]:
    """Losses of the source, float32 [windows, length - 1]; its states go to ``states_file``.

    The second value says whether the states are whole logits (see mlxforge.models.scoring.split).
    """
    check_tokens(model, windows)
    count, length = windows.shape
    losses = np.empty((count, length - 1), dtype=np.float32)
    with attention(cores()), ThreadPoolExecutor(cores()) as pool, states_file.open("wb") as stored:
        split = split_model(model, mx.array(windows[:1, :PROBE]))
        for rows in _waves(split, count, length):
            states = _states(split, windows[rows, :-1])
            if rows.start == 0:
                _begin(stored, (*losses.shape, states.shape[-1]))
            stored.write(np.ascontiguousarray(states).data)
            tally = Tally(windows[rows, 1:].reshape(-1))
            _add(tally, pool, split.head, _flat(states))
            losses[rows] = tally.losses.reshape(-1, length - 1)
            _check_finite("source gives no finite loss", losses[rows], rows.start, SOURCE_HINT)
            progress(rows.stop * (length - 1), losses.size, "tokens")
    return losses, split.whole


def score_model(
    model: nn.Module, windows: np.ndarray, progress: Progress, source: Source | None = None
) -> Scores:
    """Score ``model`` on ``windows``, and compare it with ``source`` where one is given."""
    check_tokens(model, windows)
    count, length = windows.shape
    losses = np.empty((count, length - 1), dtype=np.float32)
    divergence, agrees = np.empty_like(losses), np.empty(losses.shape, dtype=bool)
    with attention(cores()), ThreadPoolExecutor(cores()) as pool:
        split = split_model(model, mx.array(windows[:1, :PROBE]))
        reference = None
        if source is not None:
            few = mx.array(np.array(source.states[0, :PROBE]))
            reference = cut_head(source.model, source.whole, few)
        for rows in _waves(split, count, length):
            tally = Tally(windows[rows, 1:].reshape(-1))
            states = _flat(_states(split, windows[rows, :-1]))
            if source is None or reference is None:
                _add(tally, pool, split.head, states)
            else:
                expected = _flat(mx.array(np.array(source.states[rows])))
                _add(tally, pool, split.head, states, reference, expected)
                divergence[rows] = tally.divergence.reshape(-1, length - 1)
                agrees[rows] = tally.agrees.reshape(-1, length - 1)
            losses[rows] = tally.losses.reshape(-1, length - 1)
            _check_finite("model gives no finite loss", losses[rows], rows.start, MODEL_HINT)
            if source is not None:
                what = "model's divergence from the source is not finite"
                _check_finite(what, divergence[rows], rows.start, MODEL_HINT)
            progress(rows.stop * (length - 1), losses.size, "tokens")
    return Scores(losses) if source is None else Scores(losses, divergence, agrees)


def _begin(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header of an .npy file of float32 in that shape; a mapped file would count as memory."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _waves(split: Split, count: int, length: int) -> Iterator[slice]:
    size = 1 if split.whole else max(1, WAVE_TOKENS // length)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _states(split: Split, tokens: np.ndarray) -> mx.array:
    """float32 [windows, n, width], evaluated."""
    try:
        states = split.states(mx.array(tokens)).astype(mx.float32)
        mx.eval(states)
    except (ForgeError, OSError, MemoryError):
        raise
    except Exception:  # an architecture that takes one window at a time
        if len(tokens) == 1:
            raise
        states = mx.concatenate([_states(split, row[None]) for row in tokens])
        mx.eval(states)
    return states


def _flat(states: mx.array) -> mx.array:
    return states.reshape(-1, states.shape[-1])


def _add(
    tally: Tally,
    pool: Executor,
    head: Head,
    states: mx.array,
    reference: Head | None = None,
    expected: mx.array | None = None,
) -> None:
    """Run the heads over ``states`` [tokens, width], and over ``expected`` those of the source."""
    for tokens, start, stop in _pieces(len(states), head, reference):
        model = _logits(head, states[tokens], start, stop)
        source = None
        if reference is not None and expected is not None:
            source = _logits(reference, expected[tokens], start, stop)
        tally.add(tokens, start, model, source, pool)


def _logits(head: Head, states: mx.array, start: int, stop: int) -> np.ndarray:
    logits = head.columns(states, start, stop).astype(mx.float32)
    mx.eval(logits)
    return np.asarray(logits)


def _pieces(tokens: int, head: Head, reference: Head | None) -> Iterator[tuple[slice, int, int]]:
    """Tokens and ranges of the vocabulary whose logits fit into ``LOGIT_BYTES``."""
    fits = max(1, LOGIT_BYTES // 4)
    steps = [entry.step for entry in (head, reference) if entry is not None]
    if all(steps):
        step = max(steps)
        columns = max(1, fits // tokens // step) * step
        rows = min(tokens, max(1, fits // columns))
    else:
        columns, rows = head.vocabulary, max(1, fits // head.vocabulary)
    for start in range(0, head.vocabulary, columns):
        stop = min(start + columns, head.vocabulary)
        for first in range(0, tokens, rows):
            yield slice(first, min(first + rows, tokens)), start, stop


def _check_finite(what: str, figures: np.ndarray, first: int, hint: str) -> None:
    bad = np.flatnonzero(~np.isfinite(figures).all(axis=1))
    if bad.size:
        raise ForgeError(f"the {what} on window {first + int(bad[0])}", hint)
