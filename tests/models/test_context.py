"""What a context takes in memory, told without computing anything, is what it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache

from mlxforge.models.layers.cache import STEP, CacheBytes
from mlxforge.models.layers.context import measure_cache
from mlxforge.models.layers.positions import most_positions
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.source.load import cast_predicate, load_source
from mlxforge.models.source.trust import load_model
from tests.checkpoints import PLAIN, Checkpoint, cast, gpt_oss, write

MAKERS: dict[str, Callable[[], Checkpoint]] = {
    name: PLAIN[name] for name in ("llama", "phi3", "gemma3_text", "deepseek_v3", "mamba2")
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("length", [200, 1100])
def test_it_is_what_the_caches_of_a_model_that_ran_hold(
    name: str, length: int, tmp_path: Path
) -> None:
    """Full attention, fused, a sliding window beside full attention, latent, state space."""
    mx.random.seed(0)
    folder = write(cast(MAKERS[name](), "float32"), tmp_path / name)
    traced = load_source(folder)
    told = measure_cache(traced.model, cast_predicate(traced.model))
    assert told is not None

    model, _ = load_model(folder)
    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, length - 1), dtype=mx.int32), cache=cache))
    mx.eval(model(mx.zeros((1, 1), dtype=mx.int32), cache=cache))
    assert told["float32"].at(length) == sum(part.nbytes for part in cache)


@pytest.mark.parametrize("length", [500, 600, 800, 1500])
def test_windows_of_any_length_are_known_where_they_end(length: int, tmp_path: Path) -> None:
    mx.random.seed(0)
    config, weights = cast(PLAIN["gemma3_text"](), "float32")
    folder = write((config | {"sliding_window": 700}, weights), tmp_path / "model")
    told = measure_cache(load_source(folder).model)
    assert told is not None
    model, _ = load_model(folder)
    cache = make_prompt_cache(model)
    model(mx.zeros((1, length - 1), dtype=mx.int32), cache=cache)
    model(mx.zeros((1, 1), dtype=mx.int32), cache=cache)
    assert told["float32"].at(length) == sum(part.nbytes for part in cache)


def test_nothing_of_the_model_is_changed_or_computed(tmp_path: Path) -> None:
    traced = load_source(write(gpt_oss(), tmp_path / "model"))
    before = traced.model.parameters()
    mx.reset_peak_memory()
    used = mx.get_active_memory()
    told = measure_cache(traced.model)
    assert told is not None and told["bfloat16"].at(1 << 20) > 100_000_000
    assert mx.get_peak_memory() - used < 1_000_000
    same = tree_map(lambda one, other: one is other, before, traced.model.parameters())
    assert "False" not in str(same)


def test_half_the_width_takes_half_the_room(tmp_path: Path) -> None:
    traced = load_source(write(PLAIN["llama"](), tmp_path / "model"))
    told = measure_cache(traced.model)
    assert told is not None
    layers, heads, width = 2, 2, 32
    assert told["bfloat16"].at(5000) == 2 * layers * heads * width * 2 * 5120
    assert told["float32"].at(5000) == 2 * told["bfloat16"].at(5000)


def test_a_model_that_does_not_run_so_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traced = load_source(write(PLAIN["llama"](), tmp_path / "model"))
    before = traced.model.parameters()

    class Peeks(type(traced.model)):  # type: ignore[misc]
        def __call__(self, inputs: mx.array, cache: object = None) -> mx.array:
            return super().__call__(inputs[:, : 1 + int(inputs.max().item())], cache)

    traced.model.__class__ = Peeks
    assert measure_cache(traced.model) is None
    assert "Traceback" in capsys.readouterr().err
    same = tree_map(lambda one, other: one is other, before, traced.model.parameters())
    assert "False" not in str(same)


def test_a_window_that_fills_up_stops_growing_and_the_rest_goes_on() -> None:
    cache = CacheBytes(((256, 300), (512, 556), (768, 556), (1024, 600)))
    assert [cache.at(tokens) for tokens in (1, 256, 257, 512, 700, 1024, 2048)] == [
        300, 300, 556, 556, 556, 600, 776,
    ]  # fmt: skip


def test_the_longest_context_is_the_largest_that_fits() -> None:
    cache = CacheBytes(((256, 1000), (512, 2000)))
    assert cache.most_tokens(999, 8192) == 0
    assert cache.most_tokens(1000, 8192) == 256
    assert cache.most_tokens(7999, 8192) == 7 * STEP
    assert cache.most_tokens(32000, 8192) == 8192
    assert cache.most_tokens(32000, 8000) == 8000
    steady = CacheBytes(((256, 1000), (512, 1000)))
    assert steady.most_tokens(1000, 10**6) == 10**6
    assert all(
        cache.at(tokens) <= budget < cache.at(tokens + 1)
        for budget in range(1000, 30_000, 777)
        if (tokens := cache.most_tokens(budget, 10**6))
    )


def test_it_is_kept_in_the_layer_table(tmp_path: Path) -> None:
    cache = {
        "bfloat16": CacheBytes(((256, 2), (512, 4))),
        "float32": CacheBytes(((256, 4), (512, 8))),
    }
    table = LayerTable("odd", "float16", (), cache, 4096)
    file = tmp_path / "layers.json"
    file.write_text(table.dumps())
    assert LayerTable.load(file) == table
    assert table.cache_bytes(None) == cache["bfloat16"]
    assert table.cache_bytes("float32") == cache["float32"]
    unknown = LayerTable("odd", None, ())
    file.write_text(unknown.dumps())
    assert LayerTable.load(file) == unknown and unknown.cache_bytes(None) is None


def test_the_positions_are_those_of_the_language_side() -> None:
    assert most_positions({"max_position_embeddings": 4096}) == 4096
    assert most_positions({"text_config": {"max_position_embeddings": 512}}) == 512
    assert most_positions({"n_positions": 1024, "max_position_embeddings": 0}) == 1024
    assert most_positions({"model_type": "mamba2", "text_config": None}) is None
