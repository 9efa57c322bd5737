"""Calibration and evaluation text that overlap: refused, or told where the recipe insists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.recipe.model import Recipe

__all__ = ["HINT", "MOST", "check_overlap", "overlap_line"]

MOST = 0.01
"""The share that is let pass: licences and phrases that any two texts have in common."""

HINT = "use another split or text, or `calibrate: {overlap: flag}` to be told only"


def check_overlap(recipe: Recipe, figures: Mapping[str, Any]) -> None:
    """Raises ForgeError where ``figures`` have more overlap than the recipe lets pass."""
    found, calibrate = figures.get("overlap"), recipe.calibrate
    if found is None or calibrate is None or calibrate.text is None:
        return
    if calibrate.overlap == "refuse" and found["share"] > MOST:
        example = found["examples"][0]
        raise ForgeError(
            f"calibrate.text and evaluate.text overlap: {overlap_line(found)}, such as {example!r}",
            HINT,
            at=calibrate.text.at,
        )


def overlap_line(found: Mapping[str, Any]) -> str:
    """The share in words, for summary and message."""
    return f"{100 * found['share']:.3g}% of the evaluation text stands in the calibration text"
