"""The windows of a calibration text: anywhere in it, chosen by a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.evaluate.windows import token_windows

__all__ = ["calibration_windows"]

ALL = 1 << 20  # windows: more than anybody calibrates on


def calibration_windows(
    text: Path, tokenizer: Any, samples: int, length: int, seed: int
) -> np.ndarray:
    """``samples`` windows of ``length`` tokens, int32 [samples, length], in the text's order.

    The text is cut into windows without overlap; which of them are taken is a permutation by
    numpy's PCG64 of ``seed``. Raises ForgeError where the text has fewer.
    """
    windows = token_windows(text, tokenizer, ALL, length)
    if len(windows) < samples:
        raise ForgeError(
            f"the calibration text gives {len(windows)} windows of {length} tokens, "
            f"{samples} are wanted",
            f"use a longer text, or calibrate: {{samples: {len(windows)}}}",
        )
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(windows))
    return windows[np.sort(order[:samples])]
