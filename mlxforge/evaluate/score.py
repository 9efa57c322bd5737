"""Scoring models over windows of tokens, a few rows of logits at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.evaluate.divergence import compare, token_losses
from mlxforge.models.split import Split, split_model
from mlxforge.progress import Progress

__all__ = ["Scores", "score_model", "score_source"]

LOGIT_BYTES = 64 << 20  # of one piece of logits in float32


@dataclass(frozen=True)
class Scores:
    """Per predicted token, each [windows, length - 1]: losses and divergences in nats."""

    losses: np.ndarray
    divergence: np.ndarray
    agrees: np.ndarray


def score_source(
    model: nn.Module, windows: np.ndarray, states_file: Path, progress: Progress
) -> tuple[np.ndarray, bool]:
    """Losses of the source, float32 [windows, length - 1]; its states go to ``states_file``.

    The second value says whether the states are whole logits (see mlxforge.models.split).
    """
    split = split_model(model, mx.array(windows[:1, :16]))
    count, length = windows.shape
    losses = np.empty((count, length - 1), dtype=np.float32)
    stored: np.memmap | None = None
    for row, window in enumerate(windows):
        states = split.states(mx.array(window[None, :-1])).astype(mx.float32)
        mx.eval(states)
        if stored is None:
            shape = (count, length - 1, states.shape[-1])
            stored = np.lib.format.open_memmap(states_file, "w+", np.float32, shape)
        stored[row] = np.array(states)
        targets = mx.array(window[1:])
        for start, stop in _pieces(split, states):
            found = token_losses(split.logits(states[start:stop]), targets[start:stop])
            losses[row, start:stop] = np.array(found)
        _check_finite(losses[row], row)
        progress((row + 1) * (length - 1), count * (length - 1), "tokens")
    if stored is not None:
        stored.flush()
    return losses, split.whole


def score_model(
    model: nn.Module,
    source: nn.Module,
    whole: bool,
    windows: np.ndarray,
    states_file: Path,
    progress: Progress,
) -> Scores:
    """Score ``model`` against the stored states of ``source``, of which only the head runs."""
    probe = mx.array(windows[:1, :16])
    split, reference = split_model(model, probe), split_model(source, probe, whole)
    stored = np.load(states_file, mmap_mode="r")
    count, length = windows.shape
    losses = np.empty((count, length - 1), dtype=np.float32)
    divergence, agrees = np.empty_like(losses), np.empty(losses.shape, dtype=bool)
    for row, window in enumerate(windows):
        states = split.states(mx.array(window[None, :-1]))
        expected = mx.array(stored[row])
        targets = mx.array(window[1:])
        for start, stop in _pieces(split, states):
            found = compare(
                reference.logits(expected[start:stop]),
                split.logits(states[start:stop]),
                targets[start:stop],
            )
            mx.eval(*found)
            divergence[row, start:stop] = np.array(found[0])
            agrees[row, start:stop] = np.array(found[1])
            losses[row, start:stop] = np.array(found[2])
        _check_finite(losses[row], row)
        progress((row + 1) * (length - 1), count * (length - 1), "tokens")
    return Scores(losses, divergence, agrees)


def _pieces(split: Split, states: mx.array) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose logits fit into ``LOGIT_BYTES``."""
    vocabulary = split.logits(states[:1]).shape[-1]  # lazy: only the shape is computed
    rows = max(1, LOGIT_BYTES // (4 * vocabulary))
    for start in range(0, states.shape[0], rows):
        yield start, min(start + rows, states.shape[0])


def _check_finite(losses: np.ndarray, window: int) -> None:
    if not np.isfinite(losses).all():
        raise ForgeError(
            f"the model gives no finite loss on window {window}",
            "its weights or activations overflow: try `dtype: bfloat16` or more bits",
        )
