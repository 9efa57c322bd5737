"""The scales that move between layers, for people: one line for all blocks that are alike."""

from __future__ import annotations

import re
from collections import Counter

from mlxforge.models.layers.pairs import Pair, Pairs

__all__ = ["pairs_lines"]


def pairs_lines(pairs: Pairs) -> list[str]:
    """From where to where, and how often; then the norms that keep theirs, and why."""
    moved = Counter(f"{_anywhere(pair.scaler)} -> {_readers(pair)}" for pair in pairs.pairs)
    kept = Counter(
        f"{_anywhere(path)}: {_anywhere(reason)}" for path, reason in pairs.without.items()
    )
    lines = [f"scales move {count:3} x  {line}" for line, count in moved.items()]
    lines += [f"no pair     {count:3} x  {line}" for line, count in kept.items()]
    return lines if moved else ["no two layers of this model can hand a scale on", *lines]


def _readers(pair: Pair) -> str:
    """Without what their paths share with the scaler's block."""
    block = re.match(r".*?\.\d+\.", pair.scaler)
    start = block[0] if block else ""
    return ", ".join(path.removeprefix(start) for path in pair.readers)


def _anywhere(text: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", text)
