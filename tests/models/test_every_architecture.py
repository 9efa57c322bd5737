"""Every text architecture: roles, builds, reloading, tokens, scores, and the size told beforehand.

``roles/NAME.txt`` holds the reviewed roles of each: layer pattern, role, kind, shape, and whether
it can be quantized. ``MLXFORGE_WRITE_SNAPSHOTS=1`` writes them anew, to be reviewed again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import convert, load
from mlx_lm.generate import generate_step

from mlxforge.errors import Position
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.evaluate.score import Source, score_model, score_source
from mlxforge.models.layers.assign import Assignment, assign
from mlxforge.models.layers.inspect import inspect_source
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.size import ModelSize, model_size
from mlxforge.models.layers.table import Layer, LayerTable
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.writing.quantized import write_model
from mlxforge.recipe.model import Override, Quantize
from tests import checkpoints
from tests.checkpoints.heads import heads_of
from tests.checkpoints.hybrid import HYBRID
from tests.models.test_architectures import unguarded
from tests.models.test_upstream import assert_same, config, inspected, quantize, tensors

TEXT = {**checkpoints.PLAIN, "gpt_oss": checkpoints.gpt_oss, **HYBRID}
SNAPSHOTS = Path(__file__).parent / "roles"
DEFAULT, ROUTERS = 6, 8
MIXED = {"attention": 8, "mlp": 4, "experts": 4, "shared_experts": 4}
WINDOWS = np.random.default_rng(0).integers(0, 500, size=(2, 24)).astype(np.int32)
PROMPT = mx.array([17, 4, 99, 250, 3, 41])


@dataclass(frozen=True)
class Build:
    """``size`` is what was told before ``folder`` was made."""

    folder: Path
    size: ModelSize


@dataclass(frozen=True)
class Made:
    source: Path
    table: LayerTable
    plain: Build
    mixed: Build
    theirs: Path


@pytest.fixture(scope="module", params=TEXT)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    mx.random.seed(7)
    root = tmp_path_factory.mktemp(request.param)
    source = checkpoints.write(TEXT[request.param](), root / request.param, shards=3)
    inspection = inspected(source, root / "source")
    group_size = dividing(inspection.table)
    plain = unguarded(quantize(group_size=group_size), source, root)
    return Made(
        source,
        inspection.table,
        build(source, inspection, plain, root / "plain"),
        build(source, inspection, mixed(inspection.table, group_size), root / "mixed"),
        upstream(source, group_size, root / "theirs"),
    )


def dividing(table: LayerTable) -> int:
    widths = [layer.weight.shape[-1] for layer in table.layers if layer.quantizable]
    return 64 if all(width % 64 == 0 for width in widths) else 32


def mixed(table: LayerTable, group_size: int) -> Quantize:
    """Bits by role; the default differs from all of them."""
    present = {layer.role for layer in table.layers if layer.quantizable}
    rules = tuple(
        Override(role, True, bits, group_size, "affine", Position("r.yaml", line, 1))
        for line, (role, bits) in enumerate(MIXED.items(), 1)
        if role in present
    )
    return quantize(bits=DEFAULT, group_size=group_size, overrides=rules)


def build(source: Path, inspection: Inspection, wanted: Quantize, out: Path) -> Build:
    assignments: tuple[Assignment, ...] = assign(inspection.table, wanted)
    size = model_size(assignments, inspection.table.cast(None))
    out.mkdir()
    write_model(source, inspection, assignments, wanted, out, lambda *_: None)
    return Build(out, size)


def upstream(source: Path, group_size: int, out: Path) -> Path:
    """A packed source is unpacked first: in one run upstream leaves it at its old width."""
    if "quantization_config" in config(source):
        unpacked = out.with_name("unpacked")
        convert(str(source), unpacked, dequantize=True)
        source = unpacked
    convert(str(source), out, quantize=True, q_bits=4, q_group_size=group_size)
    return out


def test_every_layer_has_its_reviewed_role(made: Made) -> None:
    snapshot = SNAPSHOTS / f"{made.source.name}.txt"
    if os.environ.get("MLXFORGE_WRITE_SNAPSHOTS") == "1":
        snapshot.write_text(roles(made.table))
    assert roles(made.table) == snapshot.read_text()


def roles(table: LayerTable) -> str:
    """A line for all layers that differ in nothing but their number."""
    rows = {
        (
            re.sub(r"(?<=\.)\d+(?=\.|$)", "*", layer.path),
            layer.role,
            layer.kind,
            "x".join(map(str, main_shape(layer))),
            "quantizable" if layer.quantizable else "stays",
        ): None
        for layer in table.layers
    }
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def main_shape(layer: Layer) -> tuple[int, ...]:
    weights = [tensor for tensor in layer.tensors if tensor.name == f"{layer.path}.weight"]
    return (weights or layer.tensors)[0].shape


def test_a_plain_build_is_upstreams(made: Made) -> None:
    assert_same(made.plain.folder, made.theirs)


def test_rules_by_role_decide_every_layer_of_the_role(made: Made) -> None:
    """But for those on whose bits the architecture itself insists."""
    stored = tensors(made.mixed.folder)
    decided = 0
    for layer in filter(lambda layer: layer.quantizable, made.table.layers):
        if isinstance(layer.own_rule, Mapping):
            wanted = layer.own_rule.get("bits", 4)
        elif layer.role == "router":
            wanted = ROUTERS
        else:
            wanted = MIXED.get(layer.role, DEFAULT)
            decided += layer.role in MIXED
        if layer.own_rule is False:
            assert f"{layer.path}.scales" not in stored
        else:
            words = stored[f"{layer.path}.weight"][1][-1]
            assert 32 * words / layer.weight.shape[-1] == wanted, layer.path
    assert decided > 0


def test_both_builds_are_read_back_and_the_plain_one_says_what_upstreams_says(made: Made) -> None:
    ours, theirs = greedy(made.plain.folder), greedy(made.theirs)
    assert ours == theirs and len(ours) == 8
    assert len(greedy(made.mixed.folder)) == 8


def greedy(folder: Path) -> list[int]:
    model, _ = load(str(folder))
    return [int(token) for token, _ in generate_step(PROMPT, model, max_tokens=8)]


def test_scores_are_finite_and_only_a_build_diverges_from_its_source(
    made: Made, tmp_path: Path
) -> None:
    source = load_for_scoring(made.source)
    losses, whole = score_source(source, WINDOWS, tmp_path / "states.npy", quiet)
    reference = Source(source, whole, np.load(tmp_path / "states.npy", mmap_mode="r"))
    itself = score_model(source, WINDOWS, quiet, reference)
    found = score_model(load_for_scoring(made.plain.folder), WINDOWS, quiet, reference)
    assert np.isfinite([perplexity(losses).value, perplexity(found.losses).value]).all()
    assert itself.divergence is not None and found.divergence is not None
    assert itself.divergence.max() < 1e-9
    assert np.isfinite(found.divergence).all() and found.divergence.mean() > 1e-6


def quiet(done: int, total: int, unit: str) -> None: ...


@pytest.mark.parametrize("which", ["plain", "mixed"])
def test_the_size_was_known_before_the_build(made: Made, which: str) -> None:
    told: Build = getattr(made, which)
    size = sum(len(raw) for _, _, raw in tensors(told.folder).values())
    assert told.size.bytes == size
    index = json.loads((told.folder / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": size, "total_parameters": told.size.parameters}
    assert told.size.bits_per_weight == 8 * size / index["metadata"]["total_parameters"]


def test_headers_alone_tell_all_of_it(made: Made, tmp_path: Path) -> None:
    """Layers, sizes, and how each parameter comes out of the stored tensors."""
    heads = heads_of(made.source, tmp_path / "heads")
    assert sum(path.stat().st_size for path in heads.glob("*.safetensors")) < 200_000
    (tmp_path / "told").mkdir()
    (tmp_path / "known").mkdir()
    inspect_source(heads, tmp_path / "told")
    inspect_source(made.source, tmp_path / "known")
    for file in (tmp_path / "known").iterdir():
        assert (tmp_path / "told" / file.name).read_bytes() == file.read_bytes(), file.name
