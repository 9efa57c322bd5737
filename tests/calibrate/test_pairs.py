"""Which layers hand a scale to which: reviewed lists, and the function stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import load_model

from mlxforge.calibrate.pairing.finder import pairs_of
from mlxforge.models.layers.pairs import FROM_ONE, OTHER, ROWS, Pair, Pairs, ranges_of
from tests.checkpoints import PLAIN, write
from tests.checkpoints.heads import heads_of
from tests.checkpoints.hybrid import HYBRID
from tests.checkpoints.vision import VISION

TEXT = {**PLAIN, **HYBRID}
UNLIKE = ("gemma3_text", "phi3", "phimoe", "deepseek_v3", "qwen3_next", "nemotron_h", "falcon_h1")
SHARED = [HealthCheck.function_scoped_fixture]  # folders that are made once
TOKENS = mx.array(np.random.default_rng(5).integers(0, 500, size=(2, 24)))
DENSE = [
    "post_attention_layernorm > mlp.gate_proj mlp.up_proj",
    "input_layernorm > self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "mlp.up_proj > mlp.down_proj",
    "self_attn.v_proj > self_attn.o_proj",
]
HEAD = "model.norm > lm_head"
EXPECTED = {
    "llama": (0, [*DENSE, HEAD]),
    "qwen3": (1, [*DENSE, HEAD]),
    "qwen2": (0, DENSE),  # the last norm is read by the embeddings
    "gemma3_text": (
        1,
        [
            "1 + pre_feedforward_layernorm > mlp.gate_proj mlp.up_proj",
            "1 + input_layernorm > self_attn.q_proj self_attn.k_proj self_attn.v_proj",
            *DENSE[2:],
        ],
    ),
    "phi3": (
        0,
        [
            "post_attention_layernorm > mlp.gate_up_proj",
            "input_layernorm > self_attn.qkv_proj",
            "mlp.gate_up_proj > mlp.down_proj",
            "self_attn.qkv_proj > self_attn.o_proj",
            HEAD,
        ],
    ),
    "qwen3_moe": (
        1,
        [
            "post_attention_layernorm > mlp.gate mlp.switch_mlp.up_proj mlp.switch_mlp.gate_proj",
            DENSE[1],
            "4 x mlp.switch_mlp.up_proj > mlp.switch_mlp.down_proj",
            DENSE[3],
            HEAD,
        ],
    ),
    "deepseek_v3": (
        1,
        [
            "post_attention_layernorm > mlp.gate mlp.switch_mlp.up_proj mlp.switch_mlp.gate_proj "
            "mlp.shared_experts.gate_proj mlp.shared_experts.up_proj",
            "input_layernorm > self_attn.q_a_proj self_attn.kv_a_proj_with_mqa",
            "self_attn.q_a_layernorm > self_attn.q_b_proj",
            "mlp.shared_experts.up_proj > mlp.shared_experts.down_proj",
            "4 x mlp.switch_mlp.up_proj > mlp.switch_mlp.down_proj",
            HEAD,
        ],
    ),
    "mamba2": (1, ["norm > mixer.in_proj", "mixer.norm > mixer.out_proj"]),
    "granitemoehybrid": (
        0,
        [
            "post_attention_layernorm > block_sparse_moe.router.layer "
            "block_sparse_moe.switch_mlp.up_proj block_sparse_moe.switch_mlp.gate_proj "
            "shared_mlp.input_linear",
            "mamba.norm > mamba.out_proj",
            "input_layernorm > mamba.in_proj",
            "4 x block_sparse_moe.switch_mlp.up_proj > block_sparse_moe.switch_mlp.down_proj",
            "shared_mlp.input_linear > shared_mlp.output_linear",
        ],
    ),
    "cohere2": (
        0,
        [
            "input_layernorm > self_attn.q_proj self_attn.k_proj self_attn.v_proj "
            "mlp.gate_proj mlp.up_proj",
            *DENSE[2:],
        ],
    ),
    "olmo2": (1, [*DENSE[2:], HEAD]),  # its norms come behind the layers
    "lfm2": (
        0,
        [
            "ffn_norm > feed_forward.w1 feed_forward.w3",
            "operator_norm > conv.in_proj",
            "feed_forward.w3 > feed_forward.w2",
            "conv.in_proj > conv.out_proj",
        ],
    ),
}
"""Of one block, by its number, and of what follows the last."""


def shown(pairs: Pairs, block: int) -> list[str]:
    lines = []
    for pair in pairs.pairs:
        start = re.match(r"(.*layers\.(\d+)\.)?", pair.scaler)
        assert start
        if start[2] in (None, str(block)):
            marks = {FROM_ONE: "1 + ", ROWS: f"{pair.experts} x " if pair.experts else ""}
            names = (path.removeprefix(start[0]) for path in (pair.scaler, *pair.readers))
            lines.append(marks.get(pair.kind, "") + " ".join(names).replace(" ", " > ", 1))
    return lines


@pytest.mark.parametrize("name", EXPECTED)
def test_the_pairs_are_those_that_were_reviewed(name: str, tmp_path: Path) -> None:
    block, expected = EXPECTED[name]
    assert shown(pairs_of(write(TEXT[name](), tmp_path / name)), block) == expected


def test_a_model_that_sees_has_those_of_its_language_side(tmp_path: Path) -> None:
    pairs = pairs_of(VISION["qwen2_vl"](tmp_path / "model"))
    assert shown(pairs, 0) == DENSE
    assert all(pair.scaler.startswith("language_model.") for pair in pairs.pairs)


def test_headers_are_enough(tiny: Callable[..., Path], tmp_path: Path) -> None:
    source = tiny(tied=False)
    found = pairs_of(heads_of(source, tmp_path / "heads"))
    assert found.pairs and found == pairs_of(source)


def test_grouped_heads_share_the_scales_of_a_value(tmp_path: Path) -> None:
    pairs = pairs_of(write(PLAIN["llama"](), tmp_path / "llama"))
    pair = next(pair for pair in pairs.pairs if pair.scaler.endswith("v_proj"))
    heads = pair.channels(next(iter(pair.readers))).reshape(4, 32)
    assert [(row[0], row[-1]) for row in heads] == [(0, 31), (0, 31), (32, 63), (32, 63)]


def test_of_a_fused_projection_only_the_values_are_scaled(tmp_path: Path) -> None:
    pairs = pairs_of(write(PLAIN["phi3"](), tmp_path / "phi3"))
    fused = {pair.scaler.rpartition(".")[2]: pair for pair in pairs.pairs if pair.kind == ROWS}
    for name, rows in (("qkv_proj", (192, 256)), ("gate_up_proj", (256, 512))):
        channels = fused[name].channels(next(iter(fused[name].readers)))
        assert (channels.min(), channels.max() + 1) == rows


def test_a_norm_without_a_pair_says_why(tmp_path: Path) -> None:
    without = pairs_of(write(PLAIN["qwen3"](), tmp_path / "qwen3")).without
    assert sorted(without) == [
        f"model.layers.{block}.self_attn.{name}_norm" for block in (0, 1) for name in "kq"
    ]
    assert "o_proj is not multiplied by it alone" in without["model.layers.0.self_attn.k_norm"]
    tied = pairs_of(write(PLAIN["qwen2"](), tmp_path / "qwen2")).without
    assert "model.embed_tokens, whose weight turns tokens into states" in tied["model.norm"]


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    found = pairs_of(write(HYBRID["qwen3_next"](), tmp_path / "model"))
    (tmp_path / "pairs.json").write_text(found.dumps())
    assert Pairs.load(tmp_path / "pairs.json") == found


@given(st.lists(st.integers(OTHER, 6), min_size=1, max_size=40))
def test_channels_are_kept_as_ranges(channels: list[int]) -> None:
    pair = Pair("scaler", ROWS, 0, {"reader": ranges_of(channels)})
    assert pair.channels("reader").tolist() == channels


def moved(model: nn.Module, pairs: Pairs, seed: int) -> None:
    """Random scales moved within all pairs, straight in the parameters."""
    random = np.random.default_rng(seed)
    values = dict(tree_flatten(model.parameters()))
    for pair in pairs.pairs:
        rows = values[f"{pair.scaler}.weight"].shape[-2 if pair.kind == ROWS else -1]
        lead = (pair.experts,) if pair.experts else ()
        scales = np.exp2(random.uniform(-1, 1, (*lead, rows))).astype(np.float32)
        channels = {path: pair.channels(path) for path in pair.readers}
        met = np.unique(np.concatenate(list(channels.values())))
        scales[..., np.setdiff1d(np.arange(rows), met)] = 1
        by = mx.array(scales)
        name, shift = f"{pair.scaler}.weight", 1 if pair.kind == FROM_ONE else 0
        divisor = by[..., None] if pair.kind == ROWS else by
        values[name] = (values[name] + shift) / divisor - shift
        if (bias := f"{pair.scaler}.bias") in values:
            values[bias] = values[bias] / by
        for path, found in channels.items():
            columns = mx.array(np.where(found == OTHER, np.float32(1), scales[..., found]))
            weight = values[f"{path}.weight"]
            values[f"{path}.weight"] = weight * (columns[:, None] if pair.experts else columns)
    model.update(tree_unflatten(list(values.items())))


def assert_unchanged(folder: Path, seed: int) -> None:
    pairs = pairs_of(folder)
    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    before = np.array(model(TOKENS))
    moved(model, pairs, seed)
    off = np.abs(np.array(model(TOKENS)) - before).max()
    assert pairs.pairs and off < 1e-3 * before.std()


@pytest.mark.parametrize(
    "name",
    ["gemma3_text", "phi3", "phimoe", "deepseek_v3", "qwen3_next", "nemotron_h", "falcon_h1"],
)
def test_scales_leave_the_float_function_as_it_was(name: str, tmp_path: Path) -> None:
    assert_unchanged(write(TEXT[name](), tmp_path / name), seed=1)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.booleans(), st.sampled_from([64, 128, 192]), st.sampled_from([64, 320]), st.integers(0, 99)
)
def test_scales_leave_any_llama_as_it_was(
    tiny: Callable[..., Path], tied: bool, hidden: int, inner: int, seed: int
) -> None:
    assert_unchanged(tiny(tied=tied, hidden=hidden, intermediate=inner, layers=1), seed)
