"""What training has made of a model, handed over: all of its packed layers, and changed norms."""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxforge.calibrate.distill.solve import Solved
from mlxforge.calibrate.distill.student import Values
from mlxforge.calibrate.distill.verdict import Verdict
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.writing.chosen import UNKNOWN, ChosenWriter

__all__ = ["write_tuned"]


def write_tuned(
    start: Path,
    tensors: Mapping[str, Rows],
    paths: Collection[str],
    verdict: Verdict,
    solved: Mapping[int, Solved],
    names: Mapping[int, str],
    changed: Iterable[str],
    told: Container[str],
    out: Path,
) -> None:
    """The layers at ``paths`` of the model in ``start``, whose ``tensors`` these are, with the
    values that ``verdict`` keeps; the other ones as they are: of these, layers that calibration has
    not ``told`` of were only rounded. So are tensors that are ``changed``, by name: those that are
    not quantized and have other values there than in the source."""
    trained = {name: found for found in verdict.kept.values() for name in found.names}

    @lru_cache(maxsize=1)
    def values(found: Solved) -> Values:
        return found.read()

    def value(name: str) -> mx.array:
        return values(trained[name])[name] if name in trained else tensors[name].read_all()

    writer = ChosenWriter(out)
    packed: set[str] = set()
    for path in paths:
        parts = [f"{path}.{part}" for part in ("weight", "scales", "biases")]
        writer.add_packed(path, [value(part) for part in parts])
        packed.update(parts)
    for name in sorted({*changed, *trained} - packed):
        writer.add_tensor(name, value(name))
    untold = [path for path in paths if path not in told and f"{path}.scales" not in trained]
    writer.finish(_unknown(start), _notes(verdict, solved, names), untold)


def _unknown(start: Path) -> dict[str, list[int]]:
    """The experts that the start itself has only rounded."""
    layers = json.loads((start / "mlxforge.json").read_bytes())["layers"]
    return {path: entry[UNKNOWN] for path, entry in layers.items() if UNKNOWN in entry}


def _notes(
    verdict: Verdict, solved: Mapping[int, Solved], names: Mapping[int, str]
) -> dict[str, Any]:
    """Divergences on the windows held out; of each stage its loss, relative to the start's."""
    stages = {
        names[number]: {
            "loss": found.after / found.before if found.before else 1.0,
            "iterations": found.iterations,
            "kept": number in verdict.kept,
        }
        for number, found in solved.items()
    }
    return {"divergence": {"before": verdict.before, "after": verdict.after}, "stages": stages}
