"""What layers add to, found in blocks of many architectures and in made-up ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlxforge.calibrate.arrivals import arrivals
from mlxforge.calibrate.passage import Passage
from mlxforge.calibrate.residual import Residual, find_residuals
from mlxforge.calibrate.run import Run
from mlxforge.calibrate.stages import Stages
from mlxforge.models.exchanged import called_as
from mlxforge.models.scoring.leaves.fixed import fix_weight, weight_of
from mlxforge.models.scoring.loading import load_for_scoring
from mlxforge.quantize.affine import Affine
from tests.calibrate.test_stages import TEXT, WINDOWS, paths_of, rounded
from tests.checkpoints import write

NORM = Residual("post_attention_layernorm", 1.0)
END = Residual(None, 1.0)

FOUND: dict[str, dict[str, Residual]] = {
    "llama": {"self_attn.o_proj": NORM, "mlp.down_proj": END},
    "phi3": {"self_attn.o_proj": NORM, "mlp.down_proj": END},
    "granite": {
        "self_attn.o_proj": Residual("post_attention_layernorm", 0.22),
        "mlp.down_proj": Residual(None, 0.22),
    },
    "cohere2": {"self_attn.o_proj": END, "mlp.down_proj": END},  # side by side
    "qwen3_moe": {"self_attn.o_proj": NORM},
    "deepseek_v3": {"self_attn.o_proj": NORM, "mlp.shared_experts.down_proj": END},
    "qwen3_next": {"self_attn.o_proj": NORM},  # the shared expert's output goes through a gate
    "falcon_h1": {
        "mamba.out_proj": Residual("pre_ff_layernorm", 1.0),
        "self_attn.o_proj": Residual("pre_ff_layernorm", 1.0),
        "feed_forward.down_proj": END,
    },
    "mamba2": {"mixer.out_proj": END},
    "gemma3_text": {},  # a norm is behind each layer
    "olmo2": {},
}


@pytest.fixture(scope="module")
def passage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Passage]:
    """That has come to block 1 of a random model."""

    def make(name: str) -> Passage:
        folder = write(TEXT[name](), tmp_path_factory.mktemp(name) / name)
        model = load_for_scoring(folder, exact=True)
        found = Run(model, paths_of(folder), WINDOWS).passages[0]
        found.enter(0)
        with found.opened() as run:
            for wave in range(len(found.waves)):
                found.leave(wave, run(wave))
        found.enter(1)
        return found

    return make


def layers_of(passage: Passage) -> dict[str, nn.Module]:
    return {path: each for path, each in passage.within.items() if isinstance(each, nn.Linear)}


@pytest.mark.parametrize("name", FOUND)
def test_layers_that_add_to_the_stream_are_found_with_where_and_how_much(
    name: str, passage: Callable[[str], Passage]
) -> None:
    here = passage(name)
    assert find_residuals(here.within, here.attempt, layers_of(here)) == FOUND[name]


@pytest.mark.parametrize("name", ["llama", "granite", "cohere2", "falcon_h1"])
def test_what_arrives_is_what_the_output_is_added_to(
    name: str, passage: Callable[[str], Passage]
) -> None:
    here = passage(name)
    found = find_residuals(here.within, here.attempt, layers_of(here))
    assert found
    for path, residual in found.items():
        full = f"model.layers.1.{path}"
        layer = here.modules[full]
        with arrivals(here, full, residual) as arrive:
            given = arrive(0)
        with arrivals(here, full) as arrive:
            alone = arrive(0)
        assert given is not None and alone is not None and given.residual is not None
        assert alone.residual is None and mx.array_equal(given.x, alone.x)
        whole = given_to(here, residual.path)
        expected = np.array(residual.share * (given.residual + layer(given.x)))
        assert np.allclose(whole, expected, atol=1e-4 * np.abs(expected).max()), path


def given_to(passage: Passage, path: str | None) -> np.ndarray:
    """By a plain run of the block."""
    seen: list[mx.array] = []
    with passage.opened() as run:
        if path is None:
            return np.array(run(0))
        module = passage.within[path]
        kind = type(module)

        def call(self: nn.Module, x: mx.array, *args: Any, **kwargs: Any) -> Any:
            seen.append(x)
            return kind.__call__(self, x, *args, **kwargs)

        with called_as(module, call):
            mx.eval(run(0))
    return np.array(seen[0])


class Block(nn.Module):  # type: ignore[misc]
    """x goes by a layer as ``make`` says."""

    def __init__(self, make: Callable[[Block, mx.array, mx.array], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.norm = nn.RMSNorm(8)
        self.other = nn.Identity()
        self._make = make

    def __call__(self, x: mx.array) -> Any:
        return self._make(self, x, self.layer(x))


MADE: dict[str, tuple[Callable[[Block, mx.array, mx.array], Any], Residual | None]] = {
    "added": (lambda block, x, y: x + y, END),
    "taken": (lambda block, x, y: x - 0.5 * y, Residual(None, -0.5)),
    "in a thousand times as much": (lambda block, x, y: 1000 * x + y, END),
    "before a norm": (lambda block, x, y: block.norm(x + y), Residual("norm", 1.0)),
    "before a norm that is called twice": (
        lambda block, x, y: block.norm(block.norm(x + y)) + x + y, None
    ),
    "behind a norm": (lambda block, x, y: x + block.norm(y), None),
    "alone": (lambda block, x, y: y, None),
    "alone, scaled": (lambda block, x, y: 0.123456 * y, None),
    "not at all": (lambda block, x, y: x, None),
    "by channel": (lambda block, x, y: x + y * mx.arange(8), None),
    "by token": (lambda block, x, y: x + y * mx.sigmoid(x[..., :1]), None),
    "other tokens": (lambda block, x, y: x + y[:, ::-1], None),
    "mean": (lambda block, x, y: x + y.mean(axis=1, keepdims=True), None),
    "of another shape": (lambda block, x, y: (x + y)[:, :-1], None),
    "with a share of many digits": (lambda block, x, y: x + 0.22136 * y, Residual(None, 0.22136)),
    "with others": (lambda block, x, y: (x + y, [x, None]), END),
    "with nothing": (lambda block, x, y: (), None),
    "by a function that is bounded": (lambda block, x, y: 2000 * x + y + mx.tanh(y), None),
    "beside a mask": (
        lambda block, x, y: x + y + 0 * mx.exp(block.other(mx.full((5, 5), -mx.inf))).sum(), END
    ),
    "nan": (lambda block, x, y: (x + y) * float("nan"), None),
    "changed in place": (lambda block, x, y: block.norm(x + y) + changed(x + y), None),
}  # fmt: skip


def changed(x: mx.array) -> mx.array:
    x += 1
    return x * x


@pytest.mark.parametrize("what", MADE)
def test_only_what_is_added_as_it_is_counts(what: str) -> None:
    make, expected = MADE[what]
    if what == "changed in place":
        expected = Residual("norm", 1.0)
    block = Block(make)
    x = mx.random.normal((1, 5, 8))
    within = {path: each for path, each in block.named_modules() if path}
    found = find_residuals(within, lambda: block(x), {"mine": block.layer})
    assert found == ({} if expected is None else {"mine": expected})


def test_a_layer_of_another_block_has_none() -> None:
    block = Block(lambda block, x, y: x + y)
    within = {path: each for path, each in block.named_modules() if path}
    x = mx.zeros((1, 5, 8))
    assert find_residuals(within, lambda: block(x), {"other": nn.Linear(8, 8)}) == {}


@pytest.mark.parametrize("name", ["llama", "granite", "cohere2", "falcon_h1"])
def test_the_drift_has_that_of_what_is_added_to(name: str, tmp_path: Path) -> None:
    """Against the mean of (W (s - x) + r_s - r) x^T over runs of the whole model."""
    folder = write(TEXT[name](), tmp_path / name)
    model, source = (load_for_scoring(folder, keep=False, exact=True) for _ in range(2))
    run = Run(model, paths_of(folder), WINDOWS, source)
    wanted = {f"model.layers.1.{path}": residual for path, residual in FOUND[name].items()}
    fixed: dict[str, list[Affine]] = {}
    for stage in (stages := Stages(run)):
        ((_, hessian),) = stages.inputs(stage, stage, lambda path: weight_of(run.modules[path]))
        for path in stage:
            if path in wanted:
                changed, plain = (load_for_scoring(folder, exact=True) for _ in range(2))
                for before, entries in fixed.items():
                    fix_weight(dict(changed.named_modules())[before], entries)
                expected = products(changed, plain, path, wanted.pop(path))
                assert hessian.drift is not None
                found = hessian.drift.products[path]
                assert np.allclose(found, expected, atol=1e-3 * np.abs(expected).max()), path
            fixed[path] = rounded(run.modules[path])
            fix_weight(run.modules[path], fixed[path])
    assert not wanted


def products(changed: nn.Module, plain: nn.Module, path: str, residual: Residual) -> np.ndarray:
    (x, r), (s, r_s) = (on_its_way(model, path, residual) for model in (changed, plain))
    weight = np.array(weight_of(dict(plain.named_modules())[path]), dtype=np.float64)
    found: np.ndarray = ((s - x) @ weight.T + r_s - r).T @ x / len(x)
    return found


def on_its_way(model: nn.Module, path: str, residual: Residual) -> tuple[np.ndarray, np.ndarray]:
    """What comes into a layer, and what its output is added to, float64 [tokens, ...]."""
    block, modules = "model.layers.1", dict(model.named_modules())
    names = [path, block if residual.path is None else f"{block}.{residual.path}"]
    given: dict[str, list[mx.array]] = {name: [] for name in names}
    gave: dict[str, list[mx.array]] = {name: [] for name in names}

    def noting(name: str) -> AbstractContextManager[None]:
        kind = type(modules[name])

        def call(self: nn.Module, x: mx.array, *args: Any, **kwargs: Any) -> Any:
            y = kind.__call__(self, x, *args, **kwargs)
            given[name].append(x[...])
            gave[name].append(y[...])
            return y

        return called_as(modules[name], call)

    with noting(names[0]), noting(names[1]):
        for window in WINDOWS:
            mx.eval(model(mx.array(window[None])))
    whole = gave[block] if residual.path is None else given[names[1]]
    x, y, t = (
        np.concatenate([np.array(each, np.float64)[0] for each in arrays])
        for arrays in (given[path], gave[path], whole)
    )
    return x, t / residual.share - y
