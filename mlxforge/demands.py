"""What a recipe may ask of this version, and what it asks without saying so."""

from __future__ import annotations

from mlxforge.errors import ForgeError
from mlxforge.evaluate.drawings import DRAWINGS
from mlxforge.lock import texts_by_section
from mlxforge.models.source.loader import Loader
from mlxforge.recipe.methods import FEWEST_TOKENS, calibrated
from mlxforge.recipe.model import Recipe

__all__ = ["check_same", "check_supported", "images_of"]


def images_of(recipe: Recipe, loader: Loader) -> tuple[str, ...]:
    """What is drawn and shown to a model that may see."""
    images = recipe.evaluate.images if recipe.evaluate else ()
    if loader == "mlx_vlm":
        return tuple(DRAWINGS) if images is None else images
    if images:
        raise ForgeError(
            "evaluate.images: mlx_lm makes this model, which sees no images",
            "leave evaluate.images out",
            at=recipe.positions.get(("evaluate", "images")),
        )
    return ()


def check_supported(recipe: Recipe) -> None:
    """Raises ForgeError for what no step can do, as far as the recipe alone tells."""
    wanted = recipe.quantize
    if (method := calibrated(wanted.method, wanted.refine)) and wanted.mode != "affine":
        key = "method" if wanted.method == method else "refine"
        instead = "method: rtn" if key == "method" else "leave refine out"
        raise ForgeError(
            f"{key} {method} cannot do mode {wanted.mode}: its scales are given",
            f"use mode: affine, or {instead}",
            at=recipe.positions.get(("quantize", "mode")),
        )
    if wanted.scales == "search" and wanted.mode != "affine" and wanted.method != "none":
        raise ForgeError(
            f"scales: search has nothing to search in mode {wanted.mode}: its scales are 8-bit",
            "use mode: affine, or leave scales out",
            at=recipe.positions.get(("quantize", "scales")),
        )
    _check_enough(recipe)
    texts = texts_by_section(recipe)
    if len(texts) == 2 and texts["calibrate"] == texts["evaluate"]:
        check_same(recipe)


def _check_enough(recipe: Recipe) -> None:
    calibrate, wanted = recipe.calibrate, recipe.quantize
    if calibrate is None:
        return
    at = recipe.positions.get(("calibrate", "samples"))
    samples, length = calibrate.samples, calibrate.sequence_length
    if (tokens := samples * length) < FEWEST_TOKENS:
        raise ForgeError(
            f"calibrate: {samples} x {length} are {tokens} tokens, which tell nothing of a layer",
            f"take {FEWEST_TOKENS} or more: left out, samples are 128 of 512 tokens",
            at=at or recipe.positions.get(("calibrate", "sequence_length")),
        )
    if samples < 2 and "dwq" in (wanted.method, wanted.refine):
        raise ForgeError(
            "calibrate: dwq trains on some samples and is judged by others: 1 is too few",
            "use samples: 2 or more",
            at=at,
        )


def check_same(recipe: Recipe) -> None:
    """Raises ForgeError unless the recipe allows that its two texts are one."""
    if recipe.calibrate and recipe.calibrate.text and recipe.calibrate.overlap == "refuse":
        raise ForgeError(
            "calibrate.text and evaluate.text are the same: the score would be of no use",
            "use another split or text, or `calibrate: {overlap: flag}` to be told only",
            at=recipe.calibrate.text.at,
        )
