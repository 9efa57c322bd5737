"""Text cut into windows of tokens."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mlxforge.errors import ForgeError

__all__ = ["token_windows", "tokens_digest"]

BYTES_PER_TOKEN = 8  # of the first try
MARGIN = 1024  # tokens


def token_windows(text: Path, tokenizer: Any, samples: int, length: int) -> np.ndarray:
    """The first ``samples`` windows of ``length`` tokens, one after the other without overlap.

    int32 [windows, length]; fewer windows than asked for where the text is shorter. No special
    tokens are added. Raises ForgeError where what is read of the text is not UTF-8, or where the
    text fills no window.
    """
    tokens = _first_tokens(text, tokenizer, samples * length)
    windows = min(samples, len(tokens) // length)
    if windows == 0:
        raise ForgeError(
            f"{text} has {len(tokens)} tokens, less than one window of {length}",
            "use a longer text or a smaller sequence_length",
            key="text",
        )
    return tokens[: windows * length].reshape(windows, length)


def _first_tokens(text: Path, tokenizer: Any, wanted: int) -> np.ndarray:
    """int32: at least the first ``wanted`` tokens of the text, or all where it has fewer.

    They are those of the whole text, of which only the beginning is read: where it is cut moves
    the last few tokens before the cut and no others. So the beginning is doubled until two of
    them agree, in what is wanted and in a margin behind it.
    """
    size = (wanted + MARGIN) * BYTES_PER_TOKEN
    before = np.empty(0, dtype=np.int32)
    while True:
        content, whole = _beginning(text, size)
        found = tokenizer.encode(content, add_special_tokens=False)
        tokens = np.asarray(found, dtype=np.int32)
        known = before[: wanted + MARGIN]
        agree = len(known) == wanted + MARGIN and np.array_equal(known, tokens[: len(known)])
        if whole or agree:
            return tokens
        before, size = tokens, 2 * size


def _beginning(text: Path, size: int) -> tuple[str, bool]:
    """The characters in the first ``size`` bytes, and whether that is the whole text."""
    with text.open("rb") as file:
        data = file.read(size)
        whole = not file.read(1)
    try:
        content, _ = codecs.utf_8_decode(data, "strict", whole)
    except UnicodeDecodeError as error:
        raise ForgeError(f"{text} is not UTF-8: {error.reason} at byte {error.start}") from None
    return content.replace("\r\n", "\n").replace("\r", "\n"), whole


def tokens_digest(windows: np.ndarray) -> str:
    """sha256 of the token stream as little-endian int32."""
    return hashlib.sha256(np.ascontiguousarray(windows, dtype="<i4").tobytes()).hexdigest()
