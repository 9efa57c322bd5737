"""What a recipe leaves out: the schema's defaults, and those that hang on other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxforge.recipe.methods import (
    SECTIONS,
    calibrated,
    learning,
    sections_in_use,
    takes_scales,
)
from mlxforge.recipe.modes import MODES
from mlxforge.recipe.schema import section_with_defaults, with_defaults

__all__ = ["CALIBRATION_TEXT", "complete", "in_use"]

CALIBRATION_TEXT = {
    "dataset": "Salesforce/wikitext", "config": "wikitext-2-raw-v1", "split": "train",
}  # fmt: skip
"""What methods that need a text learn from, where the recipe names none."""


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """A checked document with every default filled in, those of mode and method too."""
    whole = with_defaults(document)
    quantize = whole["quantize"]
    for name in ("dynamic", *SECTIONS):  # dynamic says which other method is in use
        if name in sections_in_use(quantize):
            quantize[name] = section_with_defaults(quantize[name], "quantize", name)
    must = calibrated(quantize["method"], quantize["refine"])
    if must or (whole["calibrate"] is not None and learning(quantize)):
        calibrate = section_with_defaults(whole["calibrate"], "calibrate")
        calibrate["text"] = calibrate["text"] or section_with_defaults(
            CALIBRATION_TEXT, "calibrate", "text"
        )
        whole["calibrate"] = calibrate
    _fill(quantize, MODES[quantize["mode"]].bits[0], MODES[quantize["mode"]].group_sizes[0])
    for rule in quantize["overrides"]:
        rule["mode"] = rule["mode"] or quantize["mode"]
        if rule["mode"] == quantize["mode"]:
            _fill(rule, quantize["bits"], quantize["group_size"])
        else:
            # The recipe's 4 bits mean nothing to a rule that says mxfp8.
            _fill(rule, MODES[rule["mode"]].bits[0], MODES[rule["mode"]].group_sizes[0])
    return whole


def _fill(values: dict[str, Any], bits: int, group_size: int) -> None:
    if values["bits"] is None:
        values["bits"] = bits
    if values["group_size"] is None:
        values["group_size"] = group_size


def in_use(whole: Mapping[str, Any]) -> dict[str, Any]:
    """``whole`` without the keys that mean nothing here: a path has no revision, and so on."""
    document = dict(whole)
    document["source"] = _source(whole["source"])
    for section in ("calibrate", "evaluate"):
        if whole[section] and whole[section]["text"]:
            document[section] = whole[section] | {"text": _one_origin(whole[section]["text"])}
    if not learning(whole["quantize"]):
        document["calibrate"] = None
    if whole["evaluate"] and whole["evaluate"]["images"] is None:
        document["evaluate"] = {k: v for k, v in document["evaluate"].items() if k != "images"}
    quantize = whole["quantize"]
    if quantize["method"] == "none":
        used = {key: quantize[key] for key in ("method", "dtype")}
    else:
        rules = [
            rule if rule["quantize"] else {key: rule[key] for key in ("layers", "quantize")}
            for rule in quantize["overrides"]
        ]
        used = quantize | {"overrides": rules}
        if not takes_scales(quantize["method"]):
            del used["scales"]
        for name in ("allow_nonfinite", *(SECTIONS.keys() - sections_in_use(quantize))):
            del used[name]
        if used["prepare"] == "none":
            del used["prepare"]
    if quantize["allow_nonfinite"]:
        used["allow_nonfinite"] = True
    document["quantize"] = used
    return document


def _source(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing further, said or not, is the same recipe."""
    further = {key: values[key] for key in ("files", "remote_code")}
    origin = {key: value for key, value in values.items() if key not in further}
    return _one_origin(origin) | {key: names for key, names in further.items() if names}


def _one_origin(values: Mapping[str, Any]) -> dict[str, Any]:
    if values["path"] is not None:
        return {"path": values["path"]}
    return {key: value for key, value in values.items() if key != "path"}
