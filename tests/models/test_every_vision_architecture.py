"""Every vision architecture: roles, builds, reloading, answers about images, scores, sizes.

What holds of text models holds of these, made by mlx_vlm; see test_every_architecture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_vlm.convert import convert
from mlx_vlm.utils import skip_multimodal_module
from PIL import Image

from mlxforge.errors import Position
from mlxforge.evaluate.drawings import DRAWINGS, draw
from mlxforge.evaluate.perplexity import perplexity
from mlxforge.evaluate.score import Source, score_model, score_source
from mlxforge.models.layers.inspect import inspect_source
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.models.scoring.seeing import Seer
from mlxforge.recipe.model import Override, Quantize
from tests.checkpoints.heads import heads_of
from tests.checkpoints.vision import VISION
from tests.checkpoints.vision.once import once
from tests.checkpoints.vision.talk import answer, answer_apart
from tests.models.test_every_architecture import (
    DEFAULT,
    MIXED,
    SNAPSHOTS,
    WINDOWS,
    Build,
    build,
    mixed,
    quiet,
    roles,
)
from tests.models.test_upstream import config, quantize, tensors

LARGE = "phi3_v"  # its tower has a fixed size: an answer of it takes an optimized BLAS
TOWERS = ("vision", "projector")
PROMPT = "What is this?"


@dataclass(frozen=True)
class Made:
    name: str
    source: Path
    inspection: Inspection
    plain: Build
    mixed: Build
    theirs: Path
    image: Path

    @property
    def table(self) -> LayerTable:
        return self.inspection.table


@pytest.fixture(scope="module", params=VISION)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    root = tmp_path_factory.mktemp(request.param)
    source = once(request.param, tmp_path_factory)
    (root / "inspected").mkdir()
    inspection = inspect_source(source, root / "inspected")
    convert(str(source), str(root / "theirs"), quantize=True, q_bits=4, q_group_size=64)
    draw("shapes", root / "shapes.png")
    Image.open(root / "shapes.png").resize((112, 112)).save(root / "image.png")
    yield Made(
        request.param,
        source,
        inspection,
        build(source, inspection, unguarded(inspection.table), root / "plain"),
        build(source, inspection, mixed(inspection.table, 64), root / "mixed"),
        root / "theirs",
        root / "image.png",
    )
    for weights in root.rglob("*.safetensors"):  # phi3_v's take 2 GB
        weights.unlink()


def unguarded(table: LayerTable) -> Quantize:
    """A rule for the projector where upstream leaves none of it out."""
    bare = any(
        layer.role == "projector" and layer.quantizable and not skip_multimodal_module(layer.path)
        for layer in table.layers
    )
    rule = Override("projector", True, 4, 64, "affine", Position("r.yaml", 1, 1))
    known = table.model_type == "phi3_v"  # there upstream knows it by the tower it lies in
    return quantize(overrides=(rule,) if bare and not known else ())


def test_every_layer_has_its_reviewed_role(made: Made) -> None:
    snapshot = SNAPSHOTS / "vision" / f"{made.name}.txt"
    if os.environ.get("MLXFORGE_WRITE_SNAPSHOTS") == "1":
        snapshot.write_text(roles(made.table))
    assert roles(made.table) == snapshot.read_text()


def test_a_plain_build_is_upstreams(made: Made) -> None:
    mine, upstream = tensors(made.plain.folder), tensors(made.theirs)
    assert mine.keys() == upstream.keys()
    assert [name for name in mine if mine[name] != upstream[name]] == []


def test_the_config_is_upstreams_but_for_what_it_says_of_layers(made: Made) -> None:
    """Upstream leaves it to the loader to find out which layers are packed; others cannot."""
    mine, upstream = config(made.plain.folder), config(made.theirs)
    said = [(document.pop("quantization"), document.pop("quantization_config"))
            for document in (mine, upstream)]  # fmt: skip
    assert mine == upstream
    (ours, again), (theirs, _) = said
    assert ours == again
    assert {key: ours[key] for key in ("bits", "group_size", "mode")} == {
        key: theirs[key] for key in ("bits", "group_size", "mode")
    }
    stored = tensors(made.plain.folder)
    packed = {name.removesuffix(".scales") for name in stored if name.endswith(".scales")}
    left = {layer.path for layer in made.table.layers if layer.quantizable} - packed
    assert left == {path for path, value in ours.items() if value is False}


def test_towers_stay_as_they_are_and_rules_decide_the_rest(made: Made) -> None:
    stored = tensors(made.mixed.folder)
    decided = 0
    for layer in filter(lambda layer: layer.quantizable, made.table.layers):
        weight = stored[f"{layer.path}.weight"]
        if layer.role in TOWERS:
            assert f"{layer.path}.scales" not in stored
            assert tuple(weight[1]) == layer.weight.shape
        else:
            decided += layer.role in MIXED
            wanted = MIXED.get(layer.role, DEFAULT)
            assert 32 * weight[1][-1] / layer.weight.shape[-1] == wanted, layer.path
    assert decided > 0


def test_processor_and_templates_are_the_sources_byte_for_byte(made: Made) -> None:
    kept = [path for path in made.source.iterdir() if path.suffix in (".json", ".jinja")]
    ours = ("config.json", "model.safetensors.index.json")
    names = {path.name for path in kept} - set(ours)
    assert {"tokenizer.json", "tokenizer_config.json"} < names
    for name in names:
        assert (made.plain.folder / name).read_bytes() == (made.source / name).read_bytes(), name


def test_both_builds_are_read_back_and_the_plain_one_says_what_upstreams_says(made: Made) -> None:
    ours, theirs = asked(made, made.plain.folder), asked(made, made.theirs)
    assert ours == theirs and len(ours) == (2 if made.name == LARGE else 6)
    if made.name != LARGE:
        assert len(asked(made, made.mixed.folder)) == 6


def asked(made: Made, folder: Path) -> list[int]:
    """By mlx_vlm alone, which loads the folder strictly."""
    if made.name == LARGE:
        return answer_apart(folder, made.image, PROMPT, 2)
    return answer(folder, Image.open(made.image), PROMPT, 6)


def test_an_answer_comes_with_what_the_model_thought_of_every_token(made: Made) -> None:
    if made.name == LARGE:
        return  # minutes without an optimized BLAS
    seer = Seer(load_for_scoring(made.source).whole, made.source)
    told = seer.answer(made.image, PROMPT, 6)
    echo = seer.answer(made.image, PROMPT, len(told.tokens), said=told.tokens)
    first = answer(made.source, Image.open(made.image), PROMPT, 6)
    assert list(told.tokens) == first[: len(told.tokens)]
    assert echo.tokens == told.tokens
    assert np.array_equal(echo.logprobs, told.logprobs)
    assert told.logprobs.argmax(axis=1).tolist() == list(told.tokens)
    assert np.allclose(np.exp(told.logprobs.astype(np.float64)).sum(axis=1), 1, atol=1e-4)
    forced = seer.answer(made.image, PROMPT, 3, said=[1, 2, 3])
    assert forced.tokens == (1, 2, 3)


def test_the_language_side_is_scored_by_text(made: Made, tmp_path: Path) -> None:
    source = load_for_scoring(made.source)
    losses, whole = score_source(source, WINDOWS, tmp_path / "states.npy", quiet)
    reference = Source(source, whole, np.load(tmp_path / "states.npy", mmap_mode="r"))
    itself = score_model(source, WINDOWS, quiet, reference)
    found = score_model(load_for_scoring(made.plain.folder), WINDOWS, quiet, reference)
    assert np.isfinite([perplexity(losses).value, perplexity(found.losses).value]).all()
    assert itself.divergence is not None and found.divergence is not None
    assert itself.divergence.max() < 1e-9
    assert np.isfinite(found.divergence).all() and found.divergence.mean() > 1e-6
    assert np.allclose(losses[0], expected_losses(source.whole), atol=2e-3)


def expected_losses(whole: object) -> np.ndarray:
    """Of the first window, by the model's own way from tokens to logits, no image given."""
    tokens = mx.array(WINDOWS[:1, :-1])
    found = whole.get_input_embeddings(tokens, None)  # type: ignore[attr-defined]
    more = {k: v for k, v in found.to_dict().items() if k != "inputs_embeds" and v is not None}
    told = whole.language_model(  # type: ignore[attr-defined]
        tokens, inputs_embeds=found.inputs_embeds, **more
    )
    logits = np.array(told.logits[0].astype(mx.float32), dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[np.arange(len(logits)), WINDOWS[0, 1:]]
    return np.asarray(np.log(np.exp(logits).sum(axis=1)) - right)


@pytest.mark.parametrize("which", ["plain", "mixed"])
def test_the_size_was_known_before_the_build(made: Made, which: str) -> None:
    told: Build = getattr(made, which)
    assert told.size.bytes == sum(len(raw) for _, _, raw in tensors(told.folder).values())


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


def test_drawings_are_the_same_for_everybody(tmp_path: Path) -> None:
    for name in DRAWINGS:
        draw(name, tmp_path / f"{name}.png")
        pixels = np.array(Image.open(tmp_path / f"{name}.png"))
        assert pixels.shape == (448, 448, 3)
        assert pixels.std() > 30
