"""What a model said of the images that it was shown, beside what its source said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlxforge.report.words import one_line

__all__ = ["image_rows", "nearness"]


def image_rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in figures.get("images", ()):
        yield "image", f"{entry['image']}: {entry['question']} ({nearness(entry)})"
        yield "source", one_line(entry["source"]) or "(nothing)"
        yield "answer", one_line(entry["text"]) or "(nothing)"


def nearness(entry: Mapping[str, Any]) -> str:
    """How far the model is from its source over the source's words."""
    return (
        f"KL {entry['kl_divergence']:.3g} nats, top-1 {entry['top1_agreement']:.0%} over "
        f"{entry['tokens']} tokens of the source"
    )
