"""Text cut into windows of tokens."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.errors import ForgeError

__all__ = ["token_windows", "tokens_digest"]


def token_windows(text: Path, tokenizer: Any, samples: int, length: int) -> np.ndarray:
    """The first ``samples`` windows of ``length`` tokens, one after the other without overlap.

    int32 [windows, length]; fewer windows than asked for where the text is shorter. No special
    tokens are added. Raises ForgeError where the text is not UTF-8 or fills no window.
    """
    try:
        content = text.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ForgeError(f"{text} is not UTF-8: {error.reason} at byte {error.start}") from None
    tokens = np.asarray(tokenizer.encode(content, add_special_tokens=False), dtype=np.int32)
    windows = min(samples, len(tokens) // length)
    if windows == 0:
        raise ForgeError(
            f"{text} has {len(tokens)} tokens, less than one window of {length}",
            "use a longer text or a smaller sequence_length",
        )
    return tokens[: windows * length].reshape(windows, length)


def tokens_digest(windows: np.ndarray) -> str:
    """sha256 of the token stream as little-endian int32."""
    return hashlib.sha256(np.ascontiguousarray(windows, dtype="<i4").tobytes()).hexdigest()
