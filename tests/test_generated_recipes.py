"""Thousands of generated recipes: refused with a message, or planned, and the same way twice."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.inspect import inspect_model
from mlxforge.models.layers.size import model_size
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.source.load import load_source
from mlxforge.project import Project
from tests.conftest import DEMO

BITS = st.sampled_from([2, 3, 4, 5, 6, 8])
GROUPS = st.sampled_from([16, 32, 64, 128])
MODES = st.sampled_from(["affine", "affine", "affine", "mxfp4", "nvfp4", "mxfp8"])
LAYERS = st.sampled_from(
    [
        "attention", "mlp", "embeddings", "lm_head", "router", "experts", "vision", "other",
        "model.layers.0.*", "model.layers.*.self_attn.q_proj", "*.mlp.*", "*norm*", "*", "nothing",
        "model.embed_tokens", "[", "model.layers.?.mlp.up_proj",
    ]
)  # fmt: skip
PLAIN = st.text("abc xyz-_.:#'é模", min_size=1, max_size=12).filter(str.strip)
WORDS = st.one_of(PLAIN, PLAIN, st.text(max_size=12))
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(), WORDS,
    st.lists(st.integers(0, 9), max_size=2), st.dictionaries(WORDS, WORDS, max_size=2),
)  # fmt: skip


def some(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A map with any of the keys."""
    return st.fixed_dictionaries({}, optional=values)


RULES = st.builds(
    lambda layers, rest: {"layers": layers} | rest,
    LAYERS,
    some(bits=BITS, group_size=GROUPS, mode=MODES, quantize=st.booleans()),
)
QUANTIZE = some(
    method=st.sampled_from(["rtn", "rtn", "rtn", "none", "gptq", "awq", "dwq", "dynamic"]),
    bits=BITS,
    group_size=GROUPS,
    mode=MODES,
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    overrides=st.lists(RULES, max_size=3),
)
HELDOUT = {"path": str(DEMO / "heldout.txt")}
TEXTS = st.one_of(
    st.sampled_from([{"path": str(DEMO / "README.md")}, HELDOUT]),
    some(dataset=st.just("acme/lines"), config=WORDS, split=WORDS, column=WORDS),
)
CALIBRATE = some(
    text=TEXTS,
    samples=st.integers(1, 200),
    seed=st.integers(0, 5),
    overlap=st.sampled_from(["refuse", "flag", "ignore"]),
)
EVALUATE = some(
    text=st.one_of(st.just(HELDOUT), st.just(HELDOUT), TEXTS),
    samples=st.integers(1, 40),
    sequence_length=st.integers(2, 600),
    metrics=st.lists(
        st.sampled_from(["perplexity", "kl_divergence", "top1_agreement"]), unique=True, min_size=1
    ),
    prompts=st.lists(PLAIN, max_size=2),
    require=some(
        perplexity=st.floats(1, 50), perplexity_increase=st.sampled_from(["5%", "x%", 0.1])
    ),
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly what a user may write; sometimes with one thing broken somewhere."""
    recipe: dict[str, Any] = {"source": {"path": "SOURCE"}}
    recipe |= deepcopy(  # what is broken below must not be what is drawn next
        draw(
            some(
                quantize=QUANTIZE,
                evaluate=EVALUATE,
                upload=st.builds(
                    lambda rest: {"repo": "acme/model"} | rest, some(private=st.booleans())
                ),
                calibrate=CALIBRATE,
            )
        )
    )
    if draw(st.sampled_from([False, False, True])):
        place = recipe
        while draw(st.booleans()):
            inner = [value for value in place.values() if isinstance(value, dict)]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        key = draw(st.one_of(st.sampled_from([*map(str, place), "bits"]), WORDS))
        place[key] = draw(JUNK)
    return recipe


@pytest.fixture(scope="module")
def source(tiny: Callable[..., Path]) -> Path:
    return tiny(tied=False)


@pytest.fixture(scope="module")
def table(source: Path) -> LayerTable:
    traced = load_source(source)
    return inspect_model(traced.model, traced.config)


def outcome(root: Path, table: LayerTable) -> str | tuple[Any, ...]:
    """What loading and planning say: the refusal, or keys and sizes."""
    project = Project(root, root)
    try:
        recipe = project.book.get("generated")
        plan = project.plan(recipe)
        assignments = assign(table, recipe.quantize)
    except ForgeError as error:
        assert str(error).strip() and len(str(error).splitlines()) <= 2, str(error)
        return str(error)
    size = model_size(assignments, table.cast(recipe.quantize.dtype))
    assert size.bytes > 0 and 0 < size.bits_per_weight <= 33
    return tuple(node.key for node in plan.nodes()), size


def test_every_generated_recipe_is_refused_or_planned_the_same_twice(
    source: Path, table: LayerTable, tmp_path: Path
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    seen = {"planned": 0, "refused": 0}

    @settings(
        max_examples=2500, deadline=5000, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(recipe=recipes())
    def check(recipe: dict[str, Any]) -> None:
        text = yaml.safe_dump(recipe, allow_unicode=True).replace("SOURCE", str(source))
        (folder / "generated.yaml").write_text(text, encoding="utf-8")
        first, second = outcome(tmp_path, table), outcome(tmp_path, table)
        assert first == second
        seen["refused" if isinstance(first, str) else "planned"] += 1

    check()
    assert seen["planned"] > 500 and seen["refused"] > 500, seen
