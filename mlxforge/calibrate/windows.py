"""What a model is calibrated on: windows anywhere in a text, chosen by a seed, or tokens drawn.

The mean squares of what comes into layers are the model's own, and depend on the text by little:
weighted by those of drawn tokens, a search leaves a few percent more than by those of a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.calibrate.shuffled import permutation
from mlxforge.errors import ForgeError
from mlxforge.evaluate.windows import token_windows

__all__ = ["HELD_OUT", "Windows", "calibration_windows", "drawn_windows", "held_out_of"]

ALL = 1 << 20  # windows: more than anybody calibrates on
HELD_OUT = 8  # for so many windows that are learned from one that is not


@dataclass(frozen=True)
class Windows:
    """int32 [windows, length] each, in the text's order: what methods learn from, and what none of
    them does, by which they may be judged."""

    learned: np.ndarray
    held_out: np.ndarray

    def write(self, folder: Path) -> None:
        np.save(folder / "tokens.npy", self.learned)
        np.save(folder / "held_out.npy", self.held_out)

    @classmethod
    def read(cls, folder: Path) -> Windows:
        return cls(*(np.load(folder / name) for name in ("tokens.npy", "held_out.npy")))


def held_out_of(samples: int) -> int:
    """How many windows are held out beside ``samples``, where the text has as many."""
    return -(-samples // HELD_OUT)


def calibration_windows(
    text: Path, tokenizer: Any, samples: int, length: int, seed: int
) -> Windows:
    """``samples`` windows of ``length`` tokens, and ``held_out_of`` them more, or as many as the
    text has besides, if any.

    The text is cut into windows without overlap; which of them are taken is a permutation by
    ``seed``. Raises ForgeError where the text has fewer than ``samples``.
    """
    windows = token_windows(text, tokenizer, ALL, length)
    if len(windows) < samples:
        raise ForgeError(
            f"{text} has enough tokens for {len(windows)} x {length}, not for {samples} x {length}",
            f"use a longer text, or calibrate: {{samples: {len(windows)}}}",
            key="samples",
        )
    order = permutation(len(windows), seed)
    learned, more = order[:samples], order[samples : samples + held_out_of(samples)]
    return Windows(windows[np.sort(learned)], windows[np.sort(more)])


def drawn_windows(vocabulary: int, samples: int, length: int, seed: int) -> Windows:
    """``samples`` of the first ``vocabulary`` tokens, all as likely, by the raw numbers of numpy's
    PCG64 of ``seed``, which no version of numpy changes; none held out."""
    numbers = np.random.PCG64(seed).random_raw(samples * length)
    drawn = (numbers % vocabulary).astype(np.int32).reshape(samples, length)
    return Windows(drawn, drawn[:0])
