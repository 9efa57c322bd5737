"""How fast this machine has been, from the manifests of what was built on it.

Work is counted in what a step's time goes with, so that one model tells of another: a download's
bytes; the weights that were quantized, by method and mode; tokens times parameters where a model
runs. Of each, the largest piece of work that was measured is taken: it tells most.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.device import backend
from mlxforge.progress import Work
from mlxforge.recipe.methods import PROBED_TOKENS
from mlxforge.store.manifest import Manifest
from mlxforge.store.store import Store

__all__ = ["LEARNERS", "Rates", "learning_tokens", "measured_rates", "quantize_rate"]

MOST = 200  # artifacts of a kind, the newest, that are looked at

LEARNERS = ("gptq", "awq", "dwq", "sensitivity")
"""Kinds of steps whose time goes with ``learning_tokens`` times the parameters."""

Rates = Mapping[str, float]
"""Work per second, by what was done: ``download``, ``quantize rtn affine``, ``baseline tokens``,
``heads``, ``calibrate tokens``, ``evaluate tokens``, ``evaluate samples``, ``gptq tokens`` and the
like."""


def quantize_rate(parameters: Mapping[str, Any]) -> str:
    """What the quantize step with these parameters is called in ``Rates``."""
    method = parameters["method"]
    mode = f" {parameters['mode']}" if method != "none" else ""
    searched = " search" if method == "rtn" and parameters["scales"] == "search" else ""
    return f"quantize {method}{mode}{searched}"


def learning_tokens(kind: str, parameters: Mapping[str, Any], samples: int, length: int) -> int:
    """How many tokens the step ``kind`` with these ``parameters`` leads through a model, one way,
    as far as its time goes with them: training is three ways for each of its batches, and once
    through two models."""
    if kind == "sensitivity":
        return min(samples * length, PROBED_TOKENS)
    if kind != "dwq":
        return samples * length
    batches = int(parameters["iterations"]) * min(int(parameters["batch_size"]), samples)
    return (3 * batches + 2 * samples) * length


def measured_rates(store: Store) -> Rates:
    """Of the steps that ran on this kind of machine, with the backend that is used now."""
    return {name: work.done / work.seconds for name, work in _largest(store).items()}


def _largest(store: Store) -> dict[str, Work]:
    found: dict[str, Work] = {}
    for name, work in _all(store):
        if name not in found or work.done > found[name].done:
            found[name] = work
    return found


def _all(store: Store) -> Iterator[tuple[str, Work]]:
    for manifest, _ in _manifests(store, "download"):
        if work := manifest.work.get("bytes"):
            yield "download", work
    sizes: dict[str, int] = {}  # parameters, by the key of a model or of its source
    for manifest, data in _manifests(store, "quantize"):
        parameters = _parameters(data)
        sizes[manifest.key] = sizes[manifest.recipe["inputs"]["source"]] = parameters
        written = sum(f.size for n, f in manifest.files.items() if n.endswith(".safetensors"))
        if written and (work := manifest.work.get("bytes")):
            name = quantize_rate(manifest.recipe["parameters"])
            yield name, Work(parameters * work.done // written, work.seconds)
    calibrated = {}
    for kind, model in (("calibrate", "source"), ("baseline", "source"), ("evaluate", "model")):
        for manifest, _ in _manifests(store, kind):
            if kind == "calibrate":
                calibrated[manifest.key] = manifest.recipe["parameters"]
            size = sizes.get(manifest.recipe["inputs"][model], 0)
            for unit, work in manifest.work.items():
                length = manifest.recipe["parameters"]["max_tokens"] if unit == "samples" else 1
                if size:
                    yield f"{kind} {unit}", Work(work.done * length * size, work.seconds)
    for manifest, _ in _manifests(store, "heads"):
        if size := sizes.get(manifest.recipe["inputs"]["source"], 0):
            yield "heads", Work(size, manifest.seconds)
    for kind in LEARNERS:
        for manifest, _ in _manifests(store, kind):
            size = sizes.get(manifest.recipe["inputs"]["source"], 0)
            if size and (given := calibrated.get(manifest.recipe["inputs"]["calibration"])):
                windows = given["samples"], given["sequence_length"]
                done = learning_tokens(kind, manifest.recipe["parameters"], *windows)
                yield f"{kind} tokens", Work(done * size, manifest.seconds)


def _manifests(store: Store, kind: str) -> Iterator[tuple[Manifest, Path]]:
    folder = store.root / "artifacts" / kind
    files = sorted(folder.glob("*/manifest.json"), key=lambda file: -file.stat().st_mtime)
    here = f"{platform.system()} {platform.machine()}"
    for file in files[:MOST]:
        try:
            manifest = Manifest.load(file)
        except ForgeError:
            continue
        if (
            manifest.host.get("system") == here
            and manifest.recipe["tools"].get("backend", backend()) == backend()
        ):
            yield manifest, file.parent / "data"


@cache
def _parameters(data: Path) -> int:
    """Of a finished model, from what it says of itself."""
    made = json.loads((data / "mlxforge.json").read_bytes())
    return int(8 * made["bytes"] / made["bits_per_weight"])
