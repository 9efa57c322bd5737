"""What a model is calibrated on: windows anywhere in a text, chosen by a seed, or tokens drawn.

The mean squares of what comes into layers are the model's own, and depend on the text by little:
weighted by those of drawn tokens, a search leaves a few percent more than by those of a text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.calibrate.shuffled import permutation
from mlxforge.errors import ForgeError
from mlxforge.evaluate.windows import token_windows

__all__ = ["calibration_windows", "drawn_windows"]

ALL = 1 << 20  # windows: more than anybody calibrates on


def calibration_windows(
    text: Path, tokenizer: Any, samples: int, length: int, seed: int
) -> np.ndarray:
    """``samples`` windows of ``length`` tokens, int32 [samples, length], in the text's order.

    The text is cut into windows without overlap; which of them are taken is a permutation by
    ``seed``. Raises ForgeError where the text has fewer.
    """
    windows = token_windows(text, tokenizer, ALL, length)
    if len(windows) < samples:
        raise ForgeError(
            f"{text} has enough tokens for {len(windows)} x {length}, not for {samples} x {length}",
            f"use a longer text, or calibrate: {{samples: {len(windows)}}}",
            key="samples",
        )
    order = permutation(len(windows), seed)
    return windows[np.sort(order[:samples])]


def drawn_windows(vocabulary: int, samples: int, length: int, seed: int) -> np.ndarray:
    """int32 [samples, length] of the first ``vocabulary`` tokens, all as likely, by the raw numbers
    of numpy's PCG64 of ``seed``, which no version of numpy changes."""
    numbers = np.random.PCG64(seed).random_raw(samples * length)
    return (numbers % vocabulary).astype(np.int32).reshape(samples, length)
